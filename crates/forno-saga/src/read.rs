//! Reading a ledger back, however its writer ended.
//!
//! Three outcomes, told apart by type: a sound history (perhaps with a torn
//! last line, which was never acknowledged to anybody and so is dropped), a
//! corrupt one (gap, foreign bytes, an impossible record: fall back to tags,
//! see [`Error::Corrupt`]), and a folder that cannot be read.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Corruption, Error, Fold, Record};

pub(crate) const FILE: &str = "ledger.jsonl";

/// A ledger that can be trusted.
#[derive(Clone, Debug)]
pub struct History {
    pub fold: Fold,
    pub records: Vec<Record>,
    /// Bytes of a last line that its writer did not finish.
    pub torn: usize,
    /// Where the sound part ends.
    pub(crate) length: u64,
}

/// Reads the ledger in the folder of a bake. Takes no lock: a living bake can
/// be read too, as far as it has come.
pub fn read(dir: &Path) -> Result<History, Error> {
    let path = path(dir);
    let bytes = match fs_err::read(&path) {
        Ok(bytes) => bytes,
        // The folder came into being and the process ended: nothing was done.
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => Vec::new(),
        Err(source) => return Err(Error::io("read a ledger")(source)),
    };
    parse(path, &bytes)
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// What a ledger with these bytes says; public for the fuzz target only.
pub fn parse(path: PathBuf, bytes: &[u8]) -> Result<History, Error> {
    let sound = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (lines, torn) = bytes.split_at(sound);
    let mut fold = Fold::default();
    let mut records = Vec::new();
    for (index, line) in lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
        .enumerate()
    {
        let taken = serde_json::from_slice::<Record>(line)
            .map_err(|error| error.to_string())
            .and_then(|record| {
                fold.apply(&record)
                    .map(|()| record)
                    .map_err(|illegal| illegal.to_string())
            });
        match taken {
            Ok(record) => records.push(record),
            Err(reason) => {
                return Err(Error::Corrupt(Box::new(Corruption {
                    path,
                    line: index + 1,
                    reason,
                    before: fold,
                })));
            }
        }
    }
    Ok(History {
        fold,
        records,
        torn: torn.len(),
        length: sound as u64,
    })
}
