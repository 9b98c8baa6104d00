//! The checksums that clients send with what they upload. The cyclic ones are
//! computed by one table-driven routine, and can be put together from those of
//! parts.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// A checksum while it is computed.
#[derive(Debug, Clone)]
pub(super) enum Running {
    Cyclic(&'static Cyclic, u64),
    Sha1(Sha1),
    Sha256(Sha256),
}

/// A cyclic code whose polynomial is written backwards, as all of S3's are.
#[derive(Debug)]
pub(super) struct Cyclic {
    bits: u32,
    polynomial: u64,
    table: [u64; 256],
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// As in `x-amz-checksum-crc32`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// Of a name in letters of any size.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn start(self) -> Running {
        match self.cyclic() {
            Some(cyclic) => Running::Cyclic(cyclic, cyclic.mask()),
            None if self == Self::Sha1 => Running::Sha1(Sha1::new()),
            None => Running::Sha256(Sha256::new()),
        }
    }

    fn cyclic(self) -> Option<&'static Cyclic> {
        static CRC32: OnceLock<Cyclic> = OnceLock::new();
        static CRC32C: OnceLock<Cyclic> = OnceLock::new();
        static CRC64: OnceLock<Cyclic> = OnceLock::new();
        match self {
            Self::Crc32 => Some(CRC32.get_or_init(|| Cyclic::new(32, 0xedb8_8320))),
            Self::Crc32c => Some(CRC32C.get_or_init(|| Cyclic::new(32, 0x82f6_3b78))),
            Self::Crc64Nvme => Some(CRC64.get_or_init(|| Cyclic::new(64, 0x9a6c_9329_ac4b_c9b5))),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// Whether checksums of parts can be put together into one of the whole.
    pub(super) fn adds_up(self) -> bool {
        self.cyclic().is_some()
    }

    /// The checksum of what two checksums are of, one after the other.
    pub(super) fn join(self, first: &[u8], second: &[u8], length: u64) -> Option<Vec<u8>> {
        let cyclic = self.cyclic()?;
        let joined = cyclic.multiply(cyclic.shift(length), number(first)) ^ number(second);
        Some(cyclic.bytes(joined))
    }
}

impl Running {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Cyclic(cyclic, state) => {
                for byte in bytes {
                    let place = (*state ^ u64::from(*byte)) & 0xff;
                    *state = (*state >> 8) ^ cyclic.table[usize::try_from(place).unwrap_or(0)];
                }
            }
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Cyclic(cyclic, state) => cyclic.bytes(state ^ cyclic.mask()),
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
        }
    }
}

impl Cyclic {
    fn new(bits: u32, polynomial: u64) -> Self {
        let mut table = [0; 256];
        for (entry, byte) in table.iter_mut().zip(0_u64..) {
            *entry = (0..8).fold(byte, |rest, _| halve(rest, polynomial));
        }
        Self {
            bits,
            polynomial,
            table,
        }
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    fn bytes(&self, value: u64) -> Vec<u8> {
        value.to_be_bytes()[8 - self.bits as usize / 8..].to_vec()
    }

    /// The product of two polynomials, without what the code's own divides.
    fn multiply(&self, a: u64, mut b: u64) -> u64 {
        let mut product = 0;
        for bit in (0..self.bits).rev() {
            if a >> bit & 1 == 1 {
                product ^= b;
            }
            b = halve(b, self.polynomial);
        }
        product
    }

    /// What so many bytes after it make of a checksum, as a factor.
    fn shift(&self, bytes: u64) -> u64 {
        let mut factor = 1 << (self.bits - 1);
        let mut square = 1 << (self.bits - 1 - 8);
        let mut left = bytes;
        while left > 0 {
            if left & 1 == 1 {
                factor = self.multiply(square, factor);
            }
            square = self.multiply(square, square);
            left >>= 1;
        }
        factor
    }
}

fn halve(value: u64, polynomial: u64) -> u64 {
    if value & 1 == 1 {
        (value >> 1) ^ polynomial
    } else {
        value >> 1
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
        let mut running = algorithm.start();
        running.update(bytes);
        running.finish()
    }

    /// The values by which catalogues of these codes tell them apart.
    #[test]
    fn the_check_values() {
        let check = |algorithm| hex::encode(of(algorithm, b"123456789"));
        assert_eq!(check(Algorithm::Crc32), "cbf43926");
        assert_eq!(check(Algorithm::Crc32c), "e3069283");
        assert_eq!(check(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(
            check(Algorithm::Sha1),
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441"
        );
        assert_eq!(Algorithm::find("CRC64NVME"), Some(Algorithm::Crc64Nvme));
        assert_eq!(Algorithm::find("md5"), None);
    }

    proptest! {
        #[test]
        fn checksums_of_parts_add_up(a in prop::collection::vec(any::<u8>(), 0..300), b in prop::collection::vec(any::<u8>(), 0..300)) {
            let whole = [a.as_slice(), &b].concat();
            for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.adds_up()) {
                let length = u64::try_from(b.len()).unwrap();
                let joined = algorithm.join(&of(algorithm, &a), &of(algorithm, &b), length);
                prop_assert_eq!(joined, Some(of(algorithm, &whole)));
            }
        }
    }
}
