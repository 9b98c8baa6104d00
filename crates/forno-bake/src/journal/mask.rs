//! Secrets never leave: every text is searched for them, in every form in
//! which they usually travel, before it is shown or recorded.
//!
//! Output comes in lines, and a secret may lie across two of them: a key of
//! many lines, base64 wrapped at 76 columns. So the search runs through line
//! ends as if they were not there, and a line that ends in what may be the
//! beginning of a secret is held back until the next one decides.
//!
//! All forms of all secrets are sought at once (Aho and Corasick): a step of the
//! search costs the same for one token as for ten keys, and needs no look back,
//! so that its state can wait between two lines.

use std::collections::{BTreeSet, VecDeque};

use forno_recipe::SHORTEST_SECRET;

use super::forms;

/// What stands in a secret's place.
pub(crate) const MASK: &str = "***";

/// How much of a secret at the end of a line is reason to hold it back.
const SUSPICIOUS: usize = 4;

/// A secret that cannot be masked. Recipes with one are refused when they are
/// read; this is for whoever gets secrets from somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret `{name}` has fewer than {SHORTEST_SECRET} characters and cannot be masked in output"
)]
pub struct TooShort {
    pub name: String,
}

/// Knows the secrets of a bake in all their forms.
pub struct Masker {
    forms: usize,
    /// The first is the beginning, where nothing is matched.
    nodes: Vec<Node>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} forms)", self.forms)
    }
}

/// Some forms' common beginning: as much of them as is matched.
#[derive(Debug, Default)]
struct Node {
    /// By the next byte, in order.
    next: Vec<(u8, usize)>,
    /// The longest end of this that is a beginning, too.
    fallback: usize,
    /// The length of the longest form that ends here; none: 0.
    whole: usize,
    /// How many bytes may become part of a form that is not whole yet.
    open: usize,
}

impl Node {
    fn child(&self, byte: u8) -> Option<usize> {
        let at = self.next.binary_search_by_key(&byte, |(byte, _)| *byte);
        Some(self.next.get(at.ok()?)?.1)
    }
}

impl Masker {
    /// For these secrets, given with their names. Empty ones hide nothing.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TooShort> {
        let mut all = BTreeSet::new();
        for (name, secret) in secrets {
            let length = secret.trim().chars().count();
            if length == 0 {
                continue;
            }
            if length < SHORTEST_SECRET {
                return Err(TooShort {
                    name: name.to_owned(),
                });
            }
            all.extend(forms::in_output(secret));
        }
        Ok(Self {
            forms: all.len(),
            nodes: automaton(&all),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.forms == 0
    }

    /// One text by itself, line ends included.
    pub fn mask(&self, text: &str) -> String {
        self.mask_lines([text]).concat()
    }

    /// A whole stream of lines, each as it is shown.
    pub fn mask_lines<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut stream = StreamMask::default();
        let mut masked: Vec<String> = Vec::new();
        for line in lines {
            masked.extend(stream.push(self, line));
        }
        masked.extend(stream.finish());
        masked
    }

    fn step(&self, mut at: usize, byte: u8) -> usize {
        loop {
            let node = &self.nodes[at];
            match node.child(byte) {
                Some(next) => return next,
                None if at == 0 => return 0,
                None => at = node.fallback,
            }
        }
    }
}

fn automaton(forms: &BTreeSet<String>) -> Vec<Node> {
    let mut nodes = vec![Node::default()];
    for form in forms {
        let mut at = 0;
        for byte in form.bytes() {
            let places = &nodes[at].next;
            at = match places.binary_search_by_key(&byte, |(byte, _)| *byte) {
                Ok(place) => places[place].1,
                Err(place) => {
                    let new = nodes.len();
                    nodes[at].next.insert(place, (byte, new));
                    nodes.push(Node::default());
                    new
                }
            };
        }
        nodes[at].whole = form.len();
    }
    // The shorter first: what a node falls back to is finished before it.
    let mut queue = VecDeque::from([(0, 0)]);
    while let Some((at, depth)) = queue.pop_front() {
        let fallback = nodes[at].fallback;
        if nodes[at].whole == 0 {
            nodes[at].whole = nodes[fallback].whole;
        }
        nodes[at].open = if depth >= SUSPICIOUS && !nodes[at].next.is_empty() {
            depth
        } else {
            nodes[fallback].open
        };
        for (byte, child) in nodes[at].next.clone() {
            let mut back = fallback;
            nodes[child].fallback = loop {
                match nodes[back].child(byte) {
                    Some(place) if place != child => break place,
                    _ if back == 0 => break 0,
                    _ => back = nodes[back].fallback,
                }
            };
            queue.push_back((child, depth + 1));
        }
    }
    nodes
}

/// The search within one stream of lines.
#[derive(Debug, Default)]
pub(crate) struct StreamMask {
    /// The node that is reached.
    at: usize,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    text: String,
    /// Which of its bytes belong to a secret.
    hidden: Vec<bool>,
}

impl StreamMask {
    /// Takes the next line; gives the lines that are decided by now.
    pub(crate) fn push(&mut self, masker: &Masker, line: &str) -> Vec<String> {
        if masker.is_empty() {
            return vec![line.to_owned()];
        }
        self.held.push(Held {
            text: line.to_owned(),
            hidden: vec![false; line.len()],
        });
        let current = self.held.len() - 1;
        for (at, byte) in line.bytes().enumerate() {
            if is_line_end(byte) {
                continue;
            }
            self.at = masker.step(self.at, byte);
            let whole = masker.nodes[self.at].whole;
            if whole > 0 {
                hide(&mut self.held, current, at, whole);
            }
        }
        self.release(masker.nodes[self.at].open)
    }

    /// Nothing is held back, and no secret may have begun.
    pub(crate) fn is_clear(&self) -> bool {
        self.held.is_empty() && self.at == 0
    }

    /// Nothing more comes: gives the rest.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.at = 0;
        self.held.drain(..).map(Held::masked).collect()
    }

    /// Keeps the lines that hold the last `open` bytes, gives the others.
    fn release(&mut self, mut open: usize) -> Vec<String> {
        let mut keep = self.held.len();
        while open > 0 && keep > 0 {
            keep -= 1;
            let bytes = self.held[keep]
                .text
                .bytes()
                .filter(|byte| !is_line_end(*byte))
                .count();
            open = open.saturating_sub(bytes);
        }
        self.held.drain(..keep).map(Held::masked).collect()
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Marks the `length` bytes that end at `at` in line `current`, going back
/// over line ends and into the lines before.
fn hide(held: &mut [Held], current: usize, at: usize, mut length: usize) {
    let mut end = at + 1;
    for line in held[..=current].iter_mut().rev() {
        let end = std::mem::replace(&mut end, usize::MAX).min(line.text.len());
        for position in (0..end).rev() {
            if length == 0 {
                return;
            }
            line.hidden[position] = true;
            if !is_line_end(line.text.as_bytes()[position]) {
                length -= 1;
            }
        }
    }
}

impl Held {
    fn masked(self) -> String {
        let mut masked = String::with_capacity(self.text.len());
        let mut inside = false;
        for (at, character) in self.text.char_indices() {
            let hidden = self.hidden[at..at + character.len_utf8()].contains(&true);
            if !hidden || is_line_end_char(character) {
                inside = false;
                masked.push(character);
            } else if !inside {
                inside = true;
                masked.push_str(MASK);
            }
        }
        masked
    }
}

fn is_line_end_char(character: char) -> bool {
    character == '\n' || character == '\r'
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn masker(secret: &str) -> Masker {
        Masker::new([("token", secret)]).unwrap()
    }

    /// What a listener gets, line by line.
    fn through(masker: &Masker, lines: &[&str]) -> Vec<String> {
        masker.mask_lines(lines.iter().copied())
    }

    #[test]
    fn a_secret_is_masked_and_nothing_else() {
        let masker = masker("s3cr3t-t0ken");
        assert_eq!(masker.mask("token=s3cr3t-t0ken!"), "token=***!");
        assert_eq!(masker.mask("s3cr3t-t0kens3cr3t-t0ken"), "***");
        assert_eq!(masker.mask("s3cr3t"), "s3cr3t");
        assert_eq!(masker.mask("plain\ntext"), "plain\ntext");
    }

    #[test]
    fn a_key_of_many_lines_is_masked_line_by_line_and_none_is_held_for_long() {
        let key = "-----BEGIN KEY-----\nabcdefghijkl\nmnopqrstuvwx\n-----END KEY-----\n";
        let masker = masker(key);
        let lines: Vec<&str> = key.lines().collect();
        assert_eq!(through(&masker, &lines), ["***"; 4]);
        // A line of it alone, too.
        assert_eq!(masker.mask("see mnopqrstuvwx"), "see ***");
    }

    #[test]
    fn a_line_that_only_looks_like_the_beginning_comes_out_unharmed() {
        let masker = masker("s3cr3t-t0ken");
        let mut stream = StreamMask::default();
        assert!(stream.push(&masker, "that was s3cr3t").is_empty());
        assert_eq!(
            stream.push(&masker, "but no more"),
            ["that was s3cr3t", "but no more"]
        );
        assert!(stream.push(&masker, "s3cr3t-").is_empty());
        assert_eq!(stream.push(&masker, "t0ken here"), ["***", "*** here"]);
    }

    #[test]
    fn one_too_short_to_be_masked_is_refused_and_an_empty_one_is_none() {
        assert_eq!(
            Masker::new([("pin", " 1234567 ")]).unwrap_err().to_string(),
            "the secret `pin` has fewer than 8 characters and cannot be masked in output"
        );
        assert!(Masker::new([("none", " \n")]).unwrap().is_empty());
    }

    #[test]
    fn many_secrets_that_begin_and_end_alike_are_all_found() {
        let masker = Masker::new([
            ("a", "secret-one"),
            ("b", "secret-one-and-more"),
            ("c", "one-and-more-and-more"),
        ])
        .unwrap();
        assert_eq!(masker.mask("<secret-one>"), "<***>");
        assert_eq!(masker.mask("<secret-one-and-more>"), "<***>");
        assert_eq!(masker.mask("<secret-one-and-more-and-more>"), "<***>");
        assert_eq!(masker.mask("<secret-one-and->"), "<***-and->");
    }

    /// Encoders of others, or written down once more: what is tested here does
    /// not test itself.
    const ENCODERS: [fn(&str) -> String; 8] = [
        str::to_owned,
        |text| {
            let hex = hex::encode_upper(text);
            (0..hex.len())
                .step_by(2)
                .fold(String::new(), |all, at| all + "%" + &hex[at..at + 2])
        },
        |text| {
            let quoted = serde_json::to_string(text).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        },
        |text| {
            let quoted = serde_json::to_string(&serde_json::to_string(text).unwrap()).unwrap();
            quoted
                .strip_prefix(r#""\""#)
                .unwrap()
                .strip_suffix(r#"\"""#)
                .unwrap()
                .to_owned()
        },
        |text| text.replace('\'', r"'\''"),
        |text| text.replace('\'', "''"),
        |text| hex::encode(text),
        |text| {
            let ascii = |c: char| match u32::from(c) {
                0x5c => r"\\".to_owned(),
                0x22 => "\\\"".to_owned(),
                0x80..=0xff => format!("\\x{:02X}", u32::from(c)),
                0x100..=0xffff => format!("\\u{:04X}", u32::from(c)),
                _ => c.to_string(),
            };
            text.chars().map(ascii).collect()
        },
    ];

    fn encode(secret: &str, how: usize, before: &str, after: &str) -> (String, String) {
        let around = format!("{before}{secret}{after}");
        match ENCODERS.get(how) {
            // Every byte of a URL need not be encoded; most of a secret's are not.
            Some(encode) if how != 1 => (
                format!("{}{}{}", encode(before), encode(secret), encode(after)),
                encode(secret),
            ),
            Some(_) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
                let url = |text: &str| -> String {
                    text.chars()
                        .map(|c| {
                            if plain(c) {
                                c.to_string()
                            } else {
                                ENCODERS[1](&c.to_string())
                            }
                        })
                        .collect()
                };
                (url(&around), url(secret))
            }
            None => {
                // The characters of the base64 that the secret alone decides.
                let text = STANDARD_NO_PAD.encode(&around);
                let first = (before.len() * 8).div_ceil(6);
                let last = (before.len() + secret.len()) * 8 / 6;
                let inner = text.get(first..last).unwrap().to_owned();
                (text, inner)
            }
        }
    }

    proptest! {
        /// However it is encoded, whatever stands around it and wherever the
        /// lines are broken: what comes out does not hold it.
        #[test]
        fn no_secret_comes_through(
            secret in "[ -)+-~äöü€]{8,40}",
            how in 0..=ENCODERS.len(),
            before in "[a-z ]{0,7}",
            after in "[a-z ]{0,7}",
            breaks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            prop_assume!(secret.trim().chars().count() >= 8);
            let secret = secret.trim();
            let (text, hidden) = encode(secret, how, &before, &after);
            let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            places.push(text.len());
            let mut cuts: Vec<usize> = breaks.iter().map(|cut| *cut.get(&places)).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let lines: Vec<&str> = cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            let shown = through(&masker(secret), &lines);
            prop_assert_eq!(shown.len(), lines.len());
            let shown = shown.concat();
            prop_assert!(!shown.contains(&hidden), "{:?} in {:?}", hidden, shown);
            prop_assert!(shown.contains(MASK), "{:?}", shown);
        }

        /// Text without the secret is not touched, and no line is lost.
        #[test]
        fn innocent_text_comes_through(lines in prop::collection::vec("[a-y ]{0,30}", 0..10)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            prop_assert_eq!(through(&masker("zzzz-9999"), &lines), lines);
        }
    }
}
