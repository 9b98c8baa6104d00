//! The scripts that Run Command is given: variables, then pieces of the files
//! beside this one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::host::Errands;
use crate::quote;

pub(super) const PLACE: &str = include_str!("scripts/place.sh");
pub(super) const PROBE: &str = include_str!("scripts/probe.sh");
pub(super) const BEGIN: &str = include_str!("scripts/begin.sh");
pub(super) const SERVE: &str = include_str!("scripts/serve.sh");
pub(super) const FETCH: &str = include_str!("scripts/fetch.sh");
pub(super) const TAKE: &str = include_str!("scripts/take.sh");
pub(super) const FOLLOW: &str = include_str!("scripts/follow.sh");
pub(super) const GIVE: &str = include_str!("scripts/give.sh");
pub(super) const END: &str = include_str!("scripts/end.sh");

/// Document and parameters together may have 64 KiB.
const MOST: usize = 60 * 1024;

/// Longer files are compressed: the history is easier to read when they are not.
const READABLE: usize = 16 * 1024;

/// A script, and the mark by which its answer is known.
pub(super) struct Text {
    pub(super) tag: String,
    pub(super) errands: Errands,
    script: String,
}

impl Text {
    pub(super) fn new(id: &str) -> Self {
        let mut text = Self {
            tag: format!("{:016x}", rand::random::<u64>()),
            errands: Errands::default(),
            script: String::new(),
        };
        let tag = text.tag.clone();
        text.set("id", id);
        text.set("tag", &tag);
        text
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        debug_assert!(quote::is_name(name));
        self.script
            .push_str(&format!("{name}={}\n", quote::word(value)));
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.set(name, &value.to_string());
    }

    pub(super) fn add(&mut self, piece: &str) {
        self.script.push_str(piece);
        if !piece.ends_with('\n') {
            self.script.push('\n');
        }
    }

    /// A command of the script with text as its standard input, and what follows
    /// it on its line.
    pub(super) fn here(&mut self, command: &str, content: &str, then: &str) {
        let mark = format!("forno-{}", self.tag);
        let content = content.replace('\0', "");
        self.add(&format!("{command} <<'{mark}' {then}"));
        self.add(&content);
        self.add(&mark);
    }

    /// A file of the run's folder. It gets a line end, if it has none.
    pub(super) fn file(&mut self, name: &str, content: &str) {
        let name = quote::word(name);
        // Half a script must not be run.
        let then = "|| failed \"a file cannot be written\"";
        if content.len() <= READABLE {
            self.here(&format!("cat >\"$dir\"/{name}"), content, then);
        } else {
            let packed = STANDARD.encode(gzip(content.as_bytes()));
            let unpack = format!("{{ base64 -d | gzip -d >\"$dir\"/{name}; }}");
            self.here(&unpack, &packed, then);
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.script
    }

    /// Whether it is too long to be passed, as a string of JSON.
    pub(super) fn too_long(&self) -> bool {
        let escaped = self.script.bytes().map(|b| match b {
            b'"' | b'\\' | b'\n' | b'\t' => 2,
            0..32 => 6,
            _ => 1,
        });
        escaped.sum::<usize>() > MOST
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory: it cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
