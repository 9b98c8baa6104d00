//! Hides secrets in what passes by.
//!
//! A secret is looked for as it is and in the shapes that tools give it: lines
//! of it, base64 at each of the three alignments, URL-encoded, JSON-escaped and
//! shell-quoted. Output arrives in pieces, so [`MaskedStream`] holds back as many
//! bytes as a secret may still need to be complete.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands where a secret stood.
pub const MASK: &str = "«masked»";

/// Shorter values would mask half of every log and protect nothing.
const SHORTEST: usize = 4;

/// Replaces the secrets of one bake; cheap to clone.
#[derive(Clone, Default)]
pub struct Masker {
    /// Longest first, so that no shape hides the rest of a longer one.
    shapes: Arc<Vec<String>>,
}

impl Masker {
    /// For these secret values. Values under four characters are not masked:
    /// the recipe's checks refuse such secrets before.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut shapes: Vec<String> = secrets
            .into_iter()
            .flat_map(shapes)
            .filter(|shape| shape.len() >= SHORTEST)
            .collect();
        shapes.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        shapes.dedup();
        Self {
            shapes: Arc::new(shapes),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// A whole text, masked.
    pub fn mask(&self, text: &str) -> String {
        if !self.shapes.iter().any(|shape| text.contains(shape.as_str())) {
            return text.to_owned();
        }
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, len)) = self.first_in(rest) {
            let (before, from) = rest.split_at(at);
            masked.push_str(before);
            masked.push_str(MASK);
            rest = from.split_at(len).1;
        }
        masked.push_str(rest);
        masked
    }

    /// Whether a secret is in the text, in any shape.
    pub fn finds_in(&self, text: &str) -> bool {
        self.first_in(text).is_some()
    }

    /// A masker for pieces of one stream.
    pub fn stream(&self) -> MaskedStream {
        MaskedStream {
            masker: self.clone(),
            held: String::new(),
        }
    }

    /// Every string in a JSON value, masked; keys too.
    pub fn mask_json(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(self.mask(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.mask_json(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, item)| (self.mask(&key), self.mask_json(item)))
                .collect(),
            other => other,
        }
    }

    /// The earliest match, the longest of those.
    fn first_in(&self, text: &str) -> Option<(usize, usize)> {
        self.shapes
            .iter()
            .filter_map(|shape| text.find(shape.as_str()).map(|at| (at, shape.len())))
            .min_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)))
    }

    /// How many bytes at the end of the text may be the beginning of a secret.
    fn open_end(&self, text: &str) -> usize {
        let longest = self.shapes.first().map_or(0, String::len);
        let mut from = text.len().saturating_sub(longest.saturating_sub(1));
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.char_indices()
            .map(|(at, _)| at)
            .filter(|at| *at >= from)
            .find(|at| {
                let tail = text.split_at(*at).1;
                self.shapes
                    .iter()
                    .any(|shape| shape.len() > tail.len() && shape.starts_with(tail))
            })
            .map_or(0, |at| text.len() - at)
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({} shapes)", self.shapes.len())
    }
}

/// Masks a text that comes in pieces.
#[derive(Debug)]
pub struct MaskedStream {
    masker: Masker,
    held: String,
}

impl MaskedStream {
    /// Takes a piece, gives what is certain by now.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let masked = self.masker.mask(&self.held);
        let open = self.masker.open_end(&masked);
        let certain = masked.len() - open;
        let (out, held) = masked.split_at(certain);
        let out = out.to_owned();
        self.held = held.to_owned();
        out
    }

    /// The end of the stream: what was held back.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        self.masker.mask(&rest)
    }
}

/// The shapes of a secret.
fn shapes(secret: &str) -> Vec<String> {
    let mut shapes = vec![secret.to_owned()];
    // Output is recorded line by line, so each line of a secret is one.
    shapes.extend(
        secret
            .lines()
            .map(str::trim)
            .filter(|line| line.len() >= 8)
            .map(str::to_owned),
    );
    shapes.push(url_encoded(secret));
    if let Ok(json) = serde_json::to_string(secret) {
        shapes.push(json.trim_matches('"').to_owned());
    }
    shapes.push(shell_words::quote(secret).trim_matches('\'').to_owned());
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        shapes.extend((0..3).map(|skip| base64_core(&engine, secret, skip)));
    }
    shapes
}

/// The base64 characters that depend on the secret alone, when it begins at
/// the given offset in what was encoded.
fn base64_core(engine: &impl Engine, secret: &str, offset: usize) -> String {
    let mut bytes = vec![0_u8; offset];
    bytes.extend_from_slice(secret.as_bytes());
    let encoded = engine.encode(&bytes);
    let first = (offset * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    encoded.get(first..last).unwrap_or("").to_owned()
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_shape_is_hidden() {
        let secret = "p@ss \"word\"/+é";
        let masker = Masker::new([secret]);
        let texts = [
            format!("token={secret}!"),
            format!("https://x/?t={}", url_encoded(secret)),
            serde_json::json!({ "token": secret }).to_string(),
            format!("curl -u {}", shell_words::quote(secret)),
            STANDARD_NO_PAD.encode(secret),
            STANDARD_NO_PAD.encode(format!("user:{secret}:tail")),
            STANDARD_NO_PAD.encode(format!("xy{secret}tail")),
            URL_SAFE_NO_PAD.encode(format!("abc{secret}")),
        ];
        for text in texts {
            let masked = masker.mask(&text);
            assert!(masked.contains(MASK), "{text} -> {masked}");
            assert!(!masked.contains("p@ss"), "{masked}");
        }
    }

    #[test]
    fn lines_of_a_secret_are_secrets() {
        let masker = Masker::new(["-----BEGIN KEY-----\nabcdefghijkl\n-----END KEY-----\n"]);
        assert_eq!(masker.mask("  abcdefghijkl"), format!("  {MASK}"));
    }

    #[test]
    fn a_longer_secret_is_hidden_whole() {
        let masker = Masker::new(["hunter", "hunter22"]);
        assert_eq!(masker.mask("hunter22 hunter"), format!("{MASK} {MASK}"));
    }

    proptest! {
        #[test]
        fn pieces_are_masked_like_the_whole(
            secret in "[a-z\\-]{4,12}",
            before in "[a-z ]{0,20}",
            after in "[a-z ]{0,20}",
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let masker = Masker::new([secret.as_str()]);
            let text = format!("{before}{secret}{after}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut stream = masker.stream();
            let mut out = String::new();
            let mut from = 0;
            for cut in cuts {
                out.push_str(&stream.push(&text[from..cut]));
                from = cut;
            }
            out.push_str(&stream.push(&text[from..]));
            out.push_str(&stream.finish());
            prop_assert!(!out.contains(&secret));
            prop_assert!(out.contains(MASK));
        }

        #[test]
        fn what_is_not_secret_stays(text in "[0-9 ]{0,40}") {
            let masker = Masker::new(["letters"]);
            prop_assert_eq!(masker.mask(&text), text);
        }
    }
}
