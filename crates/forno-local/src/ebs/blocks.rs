//! Disks as blocks: which of them hold data, what is in one, and the tokens that name one
//! for a while.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Of every block.
pub(super) const SIZE: usize = 512 * 1024;

/// For so many seconds a token is good: seven days, as in AWS.
pub(super) const LIFE: i64 = 7 * 24 * 3600;

/// A disk that is there whole.
pub(super) struct Disk {
    file: File,
    length: u64,
}

impl Disk {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = fs_err::File::open(path)?.into_file();
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// The blocks that are not one hole.
    pub(super) fn written(&self) -> io::Result<BTreeSet<u32>> {
        let size = SIZE as u64;
        let extents = forno_machine::data_extents(&self.file, self.length)?;
        let blocks = extents
            .into_iter()
            .flat_map(|(start, end)| start / size..end.div_ceil(size));
        Ok(blocks
            .filter_map(|block| u32::try_from(block).ok())
            .collect())
    }

    /// A block; beyond the end of the file all is zero.
    pub(super) fn read(&self, block: u32) -> io::Result<Vec<u8>> {
        let mut data = vec![0; SIZE];
        let start = u64::from(block) * SIZE as u64;
        let left = self.length.saturating_sub(start);
        let there = usize::try_from(left).map_or(SIZE, |left| left.min(SIZE));
        self.file.read_exact_at(&mut data[..there], start)?;
        Ok(data)
    }
}

/// What a token says: this block of this snapshot, until then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) snapshot: &'a str,
    pub(super) block: u32,
}

impl Named<'_> {
    pub(super) fn token(self, secret: &[u8], expires: i64) -> String {
        STANDARD.encode(format!("{expires}:{}", self.seal(secret, expires)))
    }

    /// Whether a token is one for this block, and its time not over.
    pub(super) fn is_named_by(self, token: &str, secret: &[u8], now: i64) -> bool {
        let Some((expires, seal)) = STANDARD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| {
                let (expires, seal) = text.split_once(':')?;
                Some((expires.parse::<i64>().ok()?, seal.to_owned()))
            })
        else {
            return false;
        };
        let good = self.seal(secret, expires);
        now < expires && bool::from(good.as_bytes().ct_eq(seal.as_bytes()))
    }

    fn seal(self, secret: &[u8], expires: i64) -> String {
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(format!("{}/{}/{expires}", self.snapshot, self.block));
        hash.update(secret);
        hex::encode(hash.finalize())
    }
}

pub(super) fn checksum(data: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_block_for_a_while() {
        let snapshot = "snap-12345678";
        let named = Named { snapshot, block: 7 };
        let token = named.token(b"secret", 100);
        assert!(named.is_named_by(&token, b"secret", 99));
        assert!(!named.is_named_by(&token, b"secret", 100));
        assert!(!named.is_named_by(&token, b"other", 99));
        assert!(!Named { snapshot, block: 8 }.is_named_by(&token, b"secret", 99));
        for nonsense in ["", "x", "MTAwOg==", &token[1..]] {
            assert!(!named.is_named_by(nonsense, b"secret", 99), "{nonsense}");
        }
    }

    #[test]
    fn holes_are_no_blocks_and_the_end_is_filled_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(8 * SIZE as u64 + 5).unwrap();
        file.write_all_at(b"data", 3 * SIZE as u64 - 2).unwrap();
        file.write_all_at(b"end", 8 * SIZE as u64).unwrap();
        let disk = Disk::open(&path).unwrap();
        assert_eq!(disk.written().unwrap(), [2, 3, 8].into());
        assert!(disk.read(2).unwrap().ends_with(b"da"));
        assert!(disk.read(3).unwrap().starts_with(b"ta\0"));
        let last = disk.read(8).unwrap();
        assert_eq!((last.len(), &last[..5]), (SIZE, &b"end\0\0"[..]));
        assert_eq!(disk.read(9).unwrap(), vec![0; SIZE]);
    }
}
