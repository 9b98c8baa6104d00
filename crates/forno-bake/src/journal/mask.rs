//! Secrets never leave: every text is searched for them, in every form in
//! which they usually travel, before it is shown or recorded.
//!
//! Output comes in lines, and a secret may lie across two of them: a key of
//! many lines, base64 wrapped at 76 columns. So the search runs through line
//! ends as if they were not there, and a line that ends in what may be the
//! beginning of a secret is held back until the next one decides.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands in a secret's place.
pub(crate) const MASK: &str = "***";

/// Fewer characters than this are found in innocent text all the time, and
/// masking them would tell where they stand.
pub(crate) const SHORTEST: usize = 4;

/// Lines of a longer secret are masked by themselves from this length on.
const SHORTEST_LINE: usize = 8;

/// How much of a secret at the end of a line is reason to hold it back; of a
/// short one, half.
const SUSPICIOUS: usize = 4;

/// A secret that cannot be masked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret `{name}` has {length} characters; fewer than {SHORTEST} cannot be masked in output"
)]
pub struct TooShort {
    pub name: String,
    pub length: usize,
}

/// Knows the secrets of a bake in all their forms.
#[derive(Default)]
pub struct Masker {
    forms: Vec<Form>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} forms)", self.forms.len())
    }
}

/// One text to look for, with its failure function (Knuth, Morris, Pratt):
/// the search needs no look back, so its state can wait between two lines.
struct Form {
    text: Vec<u8>,
    fallback: Vec<usize>,
}

impl Form {
    fn new(text: Vec<u8>) -> Self {
        let mut fallback = vec![0; text.len()];
        let mut matched = 0;
        for at in 1..text.len() {
            while matched > 0 && text[at] != text[matched] {
                matched = fallback[matched - 1];
            }
            if text[at] == text[matched] {
                matched += 1;
            }
            fallback[at] = matched;
        }
        Self { text, fallback }
    }

    /// The number of bytes matched after one more.
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        if matched == self.text.len() {
            matched = self.fallback[matched - 1];
        }
        while matched > 0 && self.text[matched] != byte {
            matched = self.fallback[matched - 1];
        }
        if self.text[matched] == byte {
            matched += 1;
        }
        matched
    }
}

impl Masker {
    /// For these secrets, given with their names. Empty ones hide nothing.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TooShort> {
        let mut forms = BTreeSet::new();
        for (name, secret) in secrets {
            let trimmed = secret.trim();
            if trimmed.is_empty() {
                continue;
            }
            if trimmed.chars().count() < SHORTEST {
                return Err(TooShort {
                    name: name.to_owned(),
                    length: trimmed.chars().count(),
                });
            }
            add_forms(trimmed, &mut forms);
            // With its white space it has other base64.
            add_encoded(secret.as_bytes(), &mut forms);
            for line in trimmed.lines().map(str::trim) {
                if line.len() >= SHORTEST_LINE {
                    add_forms(line, &mut forms);
                }
            }
        }
        Ok(Self {
            forms: forms
                .into_iter()
                .filter(|form| form.len() >= SHORTEST)
                .map(Form::new)
                .collect(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// One text by itself, line ends included.
    pub fn mask(&self, text: &str) -> String {
        let mut stream = StreamMask::default();
        let mut masked = stream.push(self, text);
        masked.extend(stream.finish());
        masked.concat()
    }
}

/// The search within one stream of lines.
#[derive(Debug, Default)]
pub(crate) struct StreamMask {
    /// How far each form is matched.
    states: Vec<usize>,
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
        if masker.forms.is_empty() {
            return vec![line.to_owned()];
        }
        self.states.resize(masker.forms.len(), 0);
        self.held.push(Held {
            text: line.to_owned(),
            hidden: vec![false; line.len()],
        });
        let current = self.held.len() - 1;
        for (at, byte) in line.bytes().enumerate() {
            if is_line_end(byte) {
                continue;
            }
            for (form, state) in masker.forms.iter().zip(&mut self.states) {
                *state = form.step(*state, byte);
                if *state == form.text.len() {
                    hide(&mut self.held, current, at, form.text.len());
                }
            }
        }
        let suspicious = masker
            .forms
            .iter()
            .zip(&self.states)
            .filter(|(form, state)| {
                let whole = form.text.len();
                **state < whole && **state >= SUSPICIOUS.min(whole.div_ceil(2))
            })
            .map(|(_, state)| *state)
            .max()
            .unwrap_or(0);
        self.release(suspicious)
    }

    /// Nothing more comes: gives the rest.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.states.clear();
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

fn add(form: impl Into<Vec<u8>>, forms: &mut BTreeSet<Vec<u8>>) {
    // The search does not see line ends, so no form has any.
    let form: Vec<u8> = form
        .into()
        .into_iter()
        .filter(|byte| !is_line_end(*byte))
        .collect();
    forms.insert(form);
}

fn add_forms(secret: &str, forms: &mut BTreeSet<Vec<u8>>) {
    add(secret, forms);
    add_encoded(secret.as_bytes(), forms);

    for upper in [false, true] {
        for spaces in ["%20", "+"] {
            add(percent_encoded(secret, upper, spaces), forms);
        }
    }

    let once = json_escaped(secret);
    add(json_escaped(&once), forms);
    let ascii = ascii_only(&once);
    add(json_escaped(&ascii), forms);
    add(ascii, forms);
    add(once, forms);

    // In single quotes, by either way of writing a single quote there.
    add(secret.replace('\'', r"'\''"), forms);
    add(secret.replace('\'', r#"'"'"'"#), forms);
    // In single quotes of YAML.
    add(secret.replace('\'', "''"), forms);
    // In double quotes, and without any.
    add(backslashed(secret, |c| r#"\"$`"#.contains(c)), forms);
    add(
        backslashed(secret, |c| {
            !c.is_alphanumeric() && !"-_./:=@%+,".contains(c)
        }),
        forms,
    );
}

/// Base64 of the secret standing anywhere in a longer text: what comes before
/// it shifts it by none, one or two bytes, and the characters at the borders
/// depend on the neighbours.
fn add_encoded(secret: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for (shift, skip) in [(0, 0), (1, 2), (2, 3)] {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(secret);
            let encoded = engine.encode(&shifted);
            let inner = encoded.get(skip..).unwrap_or("");
            if shift == 0 {
                add(inner, forms);
            }
            let cut = usize::from(!shifted.len().is_multiple_of(3));
            // Too little of it would be found everywhere.
            let inner = inner.get(..inner.len().saturating_sub(cut)).unwrap_or("");
            if inner.len() >= SHORTEST {
                add(inner, forms);
            }
        }
    }
}

fn percent_encoded(text: &str, upper: bool, space: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte == b' ' {
            encoded.push_str(space);
        } else if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let written = if upper {
                write!(encoded, "%{byte:02X}")
            } else {
                write!(encoded, "%{byte:02x}")
            };
            debug_assert!(written.is_ok(), "writing to a string");
        }
    }
    encoded
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(&quoted)
        .to_owned()
}

fn ascii_only(text: &str) -> String {
    let mut ascii = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

fn backslashed(text: &str, special: impl Fn(char) -> bool) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if special(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masker(secret: &str) -> Masker {
        Masker::new([("token", secret)]).unwrap()
    }

    /// What a listener gets, line by line.
    fn through(masker: &Masker, lines: &[&str]) -> Vec<String> {
        let mut stream = StreamMask::default();
        let mut shown = Vec::new();
        for line in lines {
            shown.extend(stream.push(masker, line));
        }
        shown.extend(stream.finish());
        shown
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
    fn each_form_that_is_usual_is_masked() {
        let secret = "p'a \"ss$\\wörd/+?";
        let masker = masker(secret);
        for form in [
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            percent_encoded(secret, true, "%20"),
            percent_encoded(secret, false, "+"),
            json_escaped(secret),
            json_escaped(&json_escaped(secret)),
            ascii_only(&json_escaped(secret)),
            secret.replace('\'', r"'\''"),
            secret.replace('\'', "''"),
            backslashed(secret, |c| r#"\"$`"#.contains(c)),
        ] {
            assert_eq!(masker.mask(&format!("<{form}>")), "<***>", "{form}");
        }
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
            Masker::new([("pin", "123")]).unwrap_err().to_string(),
            "the secret `pin` has 3 characters; fewer than 4 cannot be masked in output"
        );
        assert!(Masker::new([("none", " \n")]).unwrap().is_empty());
    }

    fn encode(secret: &str, how: usize, before: &str, after: &str) -> (String, String) {
        let around = format!("{before}{secret}{after}");
        match how {
            0 => (around, secret.to_owned()),
            1 => {
                // The characters of the base64 that the secret alone decides.
                let text = STANDARD_NO_PAD.encode(&around);
                let first = (before.len() * 8).div_ceil(6);
                let last = (before.len() + secret.len()) * 8 / 6;
                let inner = text.get(first..last).unwrap().to_owned();
                (text, inner)
            }
            2 => (
                percent_encoded(&around, true, "%20"),
                percent_encoded(secret, true, "%20"),
            ),
            3 => (json_escaped(&around), json_escaped(secret)),
            _ => (around.replace('\'', r"'\''"), secret.replace('\'', r"'\''")),
        }
    }

    proptest! {
        /// However it is encoded, whatever stands around it and wherever the
        /// lines are broken: what comes out does not hold it.
        #[test]
        fn no_secret_comes_through(
            secret in "[ -~äöü€]{8,40}",
            how in 0..5_usize,
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
