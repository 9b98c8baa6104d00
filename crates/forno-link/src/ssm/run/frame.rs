//! What a script answers: lines, of which the first and the last show that it is
//! whole. Run Command cuts output without a word, and anything may stand before
//! it that a machine's own files print.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::GzDecoder;

use crate::link::{Exit, Stream};

/// What one piece may unfold to.
const MOST: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) boot: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) parts: Vec<Part>,
    /// Parts that did not reach the store: number and why.
    pub(super) unsent: Vec<(u64, String)>,
    /// Of both outputs, as they were.
    pub(super) sizes: Option<(u64, u64)>,
    pub(super) input: Option<Input>,
    pub(super) state: State,
}

/// Output, from an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stream: Stream,
    pub(super) from: u64,
    pub(super) bytes: Bytes,
}

/// Output that lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) stream: Stream,
    pub(super) from: u64,
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) number: u64,
}

/// What became of the input that came with a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Taken,
    /// There is no room: what came before is not read.
    Busy,
    /// Nobody reads any more.
    Closed,
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To a probe.
    Ready,
    Running,
    Ended(Exit),
    /// The machine has no room for the output.
    Broken,
    /// There is no such command.
    Gone,
    /// It is not the boot that was meant.
    Rebooted,
    /// The order to end it was carried out.
    Over,
    NoUser,
    Refused(String),
}

impl Answer {
    /// None: it is not whole, or not the answer.
    pub(super) fn parse(text: &str, tag: &str) -> Option<Self> {
        let head = format!("forno-ssm {tag} ");
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
        let boot = lines.next()?.strip_prefix(&head)?.trim().to_owned();
        let mut answer = Self {
            boot,
            pieces: Vec::new(),
            parts: Vec::new(),
            unsent: Vec::new(),
            sizes: None,
            input: None,
            state: State::Running,
        };
        let mut stated = false;
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "out" => answer.pieces.push(piece(Stream::Stdout, rest)?),
                "err" => answer.pieces.push(piece(Stream::Stderr, rest)?),
                "part" => answer.parts.push(part(rest)?),
                "unsent" => {
                    let (number, why) = rest.split_once(' ').unwrap_or((rest, ""));
                    answer.unsent.push((number.parse().ok()?, why.to_owned()));
                }
                "sizes" => {
                    let (out, err) = rest.split_once(' ')?;
                    answer.sizes = Some((out.parse().ok()?, err.parse().ok()?));
                }
                "input" => answer.input = Some(input(rest)?),
                "state" => {
                    answer.state = state(rest)?;
                    stated = true;
                }
                "end" => return (stated && rest.trim_end() == tag).then_some(answer),
                _ => return None,
            }
        }
        None
    }
}

fn piece(stream: Stream, rest: &str) -> Option<Piece> {
    let mut words = rest.split(' ');
    let from = words.next()?.parse().ok()?;
    let count: u64 = words.next()?.parse().ok()?;
    let _total: u64 = words.next()?.parse().ok()?;
    let form = words.next()?;
    let packed = STANDARD.decode(words.next().unwrap_or("")).ok()?;
    let bytes = match form {
        "plain" => packed,
        "gzip" => {
            let mut bytes = Vec::new();
            let mut unpacked = GzDecoder::new(packed.as_slice()).take(MOST);
            unpacked.read_to_end(&mut bytes).ok()?;
            bytes
        }
        _ => return None,
    };
    (bytes.len() as u64 == count).then(|| Piece {
        stream,
        from,
        bytes: bytes.into(),
    })
}

fn part(rest: &str) -> Option<Part> {
    let mut words = rest.split(' ');
    let stream = match words.next()? {
        "out" => Stream::Stdout,
        "err" => Stream::Stderr,
        _ => return None,
    };
    Some(Part {
        stream,
        from: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        sha256: words.next()?.to_owned(),
        number: words.next()?.parse().ok()?,
    })
}

fn input(rest: &str) -> Option<Input> {
    let (word, why) = rest.split_once(' ').unwrap_or((rest, ""));
    match word {
        "taken" => Some(Input::Taken),
        "busy" => Some(Input::Busy),
        "closed" => Some(Input::Closed),
        "failed" => Some(Input::Failed(why.to_owned())),
        _ => None,
    }
}

fn state(rest: &str) -> Option<State> {
    let (word, why) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(match word {
        "ready" => State::Ready,
        "running" => State::Running,
        "exit" => State::Ended(Exit::Code(why.parse().ok()?)),
        "signal" if !why.is_empty() => State::Ended(Exit::Signal(why.to_owned())),
        "broken" => State::Broken,
        "gone" => State::Gone,
        "rebooted" => State::Rebooted,
        "ended" => State::Over,
        "refused-user" => State::NoUser,
        "refused" => State::Refused(why.to_owned()),
        _ => return None,
    })
}

/// How much of both outputs has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) out: u64,
    pub(super) err: u64,
}

/// Output that should be there is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing;

impl Taken {
    pub(super) fn of(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Stderr => self.err,
            Stream::Stdout | Stream::Console => self.out,
        }
    }

    /// What of a piece is new; it counts as taken from now on.
    pub(super) fn take(
        &mut self,
        stream: Stream,
        from: u64,
        bytes: &Bytes,
    ) -> Result<Bytes, Missing> {
        let taken = match stream {
            Stream::Stderr => &mut self.err,
            Stream::Stdout | Stream::Console => &mut self.out,
        };
        let known = taken.checked_sub(from).ok_or(Missing)?;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let fresh = bytes.slice(known.min(bytes.len())..);
        *taken += fresh.len() as u64;
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn line(word: &str, from: u64, bytes: &[u8], packed: bool) -> String {
        let (form, data) = if packed {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            ("gzip", encoder.finish().unwrap())
        } else {
            ("plain", bytes.to_vec())
        };
        let count = bytes.len();
        format!(
            "{word} {from} {count} 99 {form} {}\n",
            STANDARD.encode(data)
        )
    }

    proptest! {
        #[test]
        fn what_was_framed_is_read_back_and_nothing_that_was_cut_is_believed(
            noise in "[a-z \n]{0,20}",
            out in proptest::collection::vec(any::<u8>(), 0..60),
            err in proptest::collection::vec(any::<u8>(), 0..60),
            from in any::<u64>(),
            packed in any::<bool>(),
            code in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = format!(
                "{noise}\nforno-ssm t4g b00t\n{}{}sizes 3 4\nstate exit {code}\nend t4g\n",
                line("err", from, &err, !packed),
                line("out", from, &out, packed),
            );
            let answer = Answer::parse(&text, "t4g").unwrap();
            prop_assert_eq!(&answer.pieces[0].bytes, &err);
            prop_assert_eq!(&answer.pieces[1].bytes, &out);
            prop_assert_eq!(answer.pieces[1].from, from);
            prop_assert_eq!(answer.state, State::Ended(Exit::Code(code.into())));
            prop_assert_eq!(answer.sizes, Some((3, 4)));
            prop_assert_eq!(Answer::parse(&text, "other"), None);
            // Without the last line end it is still whole.
            let cut = cut.index(text.trim_end().len());
            prop_assert_eq!(Answer::parse(&text[..cut], "t4g"), None);
        }

        #[test]
        fn garbage_is_no_answer(text in "(forno-ssm t x\n)?([a-z0-9 =/+]{0,30}\n){0,6}(end t)?") {
            if let Some(answer) = Answer::parse(&text, "t") {
                prop_assert!(text.contains("state "), "{:?}", answer);
            }
        }

        #[test]
        fn however_pieces_overlap_every_byte_is_taken_once(
            whole in proptest::collection::vec(any::<u8>(), 1..80),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..30),
        ) {
            let whole = Bytes::from(whole);
            let (mut taken, mut kept) = (Taken::default(), Vec::new());
            for (from, to) in cuts {
                let (from, to) = (from.index(whole.len()), to.index(whole.len() + 1));
                let piece = whole.slice(from..to.max(from));
                match taken.take(Stream::Stdout, from as u64, &piece) {
                    Ok(fresh) => kept.extend_from_slice(&fresh),
                    Err(Missing) => prop_assert!(from > kept.len()),
                }
                prop_assert_eq!(taken.of(Stream::Stdout), kept.len() as u64);
            }
            prop_assert_eq!(&kept[..], &whole[..kept.len()]);
            prop_assert_eq!(taken.of(Stream::Stderr), 0);
        }
    }

    #[test]
    fn a_piece_that_unfolds_to_too_much_is_refused() {
        let bomb = line("out", 0, &vec![0; 3 << 20], true);
        let text = format!("forno-ssm t b\n{bomb}state running\nend t\n");
        assert_eq!(Answer::parse(&text, "t"), None);
    }
}
