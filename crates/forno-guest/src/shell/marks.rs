//! Takes our own words out of a stream that is otherwise a run's output, byte
//! for byte. A mark begins with a number that nobody else knows.

use bytes::Bytes;

/// What a mark says at most.
const LONGEST: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Bytes),
    Mark(String),
}

#[derive(Debug)]
pub(super) struct Marks {
    mark: Vec<u8>,
    /// May be the beginning of a mark.
    held: Vec<u8>,
}

impl Marks {
    pub(super) fn new(nonce: &str) -> Self {
        Self {
            mark: format!("\u{1}forno:{nonce}:").into_bytes(),
            held: Vec::new(),
        }
    }

    pub(super) fn feed(&mut self, chunk: &Bytes) -> Vec<Piece> {
        let mut rest = if self.held.is_empty() {
            chunk.clone()
        } else {
            let mut joined = std::mem::take(&mut self.held);
            joined.extend_from_slice(chunk);
            Bytes::from(joined)
        };
        let mut pieces = Vec::new();
        loop {
            let (start, end) = self.find(&rest);
            if start > 0 {
                pieces.push(Piece::Bytes(rest.slice(..start)));
            }
            let Some(end) = end else {
                self.held = rest.slice(start..).to_vec();
                return pieces;
            };
            let text = &rest[start + self.mark.len()..end];
            pieces.push(Piece::Mark(String::from_utf8_lossy(text).into_owned()));
            rest = rest.slice(end + 1..);
        }
    }

    /// Where a mark begins (or may begin, or where all of it has been looked at)
    /// and where it ends, if it does.
    fn find(&self, bytes: &[u8]) -> (usize, Option<usize>) {
        let mut from = 0;
        while let Some(at) = bytes[from..].iter().position(|&b| b == 1) {
            let start = from + at;
            let here = &bytes[start..];
            if let Some(text) = here.strip_prefix(self.mark.as_slice()) {
                if let Some(end) = text.iter().position(|&b| b == b'\n') {
                    return (start, Some(start + self.mark.len() + end));
                }
                if text.len() <= LONGEST {
                    return (start, None);
                }
            } else if self.mark.starts_with(here) {
                return (start, None);
            }
            from = start + 1;
        }
        (bytes.len(), None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_it_is_cut_every_byte_and_every_mark_is_found(
            parts in proptest::collection::vec(
                (proptest::collection::vec(prop_oneof![Just(1_u8), Just(b'f'), any::<u8>()], 0..12), "[a-z0-9 ]{0,8}"),
                0..4,
            ),
            cut in 1_usize..9,
        ) {
            let mut whole = Vec::new();
            for (bytes, word) in &parts {
                whole.extend_from_slice(bytes);
                whole.extend_from_slice(format!("\u{1}forno:n0nce:{word}\n").as_bytes());
            }
            let mut marks = Marks::new("n0nce");
            let (mut kept, mut words) = (Vec::new(), Vec::new());
            for chunk in whole.chunks(cut) {
                for piece in marks.feed(&Bytes::copy_from_slice(chunk)) {
                    match piece {
                        Piece::Bytes(bytes) => kept.extend_from_slice(&bytes),
                        Piece::Mark(word) => words.push(word),
                    }
                }
            }
            let bytes: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            prop_assert_eq!(kept, bytes);
            prop_assert_eq!(words, parts.into_iter().map(|(_, word)| word).collect::<Vec<_>>());
        }
    }
}
