//! One byte string for one meaning, and its SHA-256.
//!
//! Every item is written with its label and its length, so that no two
//! different inputs can run together into the same bytes.

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

/// A hasher of labelled items.
pub(crate) struct Encoder(Sha256);

impl Encoder {
    /// `purpose` keeps hashes of different things apart.
    pub(crate) fn new(purpose: &str) -> Self {
        let mut encoder = Self(Sha256::new());
        encoder.text("forno", purpose);
        encoder
    }

    pub(crate) fn bytes(&mut self, label: &str, bytes: &[u8]) {
        for part in [label.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    pub(crate) fn text(&mut self, label: &str, text: &str) {
        self.bytes(label, text.as_bytes());
    }

    /// A JSON value; the order of an object's keys does not matter.
    pub(crate) fn json(&mut self, label: &str, value: &Json) {
        match value {
            Json::Null => self.text(label, "null"),
            Json::Bool(value) => self.text(label, if *value { "true" } else { "false" }),
            Json::Number(number) => self.text(label, &format!("number {number}")),
            Json::String(text) => self.text(label, &format!("string {text}")),
            Json::Array(items) => {
                self.text(label, &format!("list {}", items.len()));
                for item in items {
                    self.json("item", item);
                }
            }
            Json::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                self.text(label, &format!("table {}", keys.len()));
                for key in keys {
                    self.text("key", key);
                    self.json("value", &map[key]);
                }
            }
        }
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
