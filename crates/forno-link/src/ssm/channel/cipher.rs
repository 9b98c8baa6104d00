//! Sessions that the account's preferences have encrypted by a key of its own:
//! AES-256-GCM, with half of a data key per direction.

use crate::ssm::DataKey;

#[cfg(feature = "kms")]
pub(super) use with::Cipher;
#[cfg(not(feature = "kms"))]
pub(super) use without::Cipher;

#[cfg(feature = "kms")]
mod with {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
    use secrecy::ExposeSecret;
    use zeroize::Zeroizing;

    use super::DataKey;

    const KEY: usize = 32;

    pub(in super::super) struct Cipher {
        ours: LessSafeKey,
        theirs: LessSafeKey,
    }

    impl Cipher {
        pub(in super::super) const POSSIBLE: bool = true;

        /// The first half opens what the agent seals, the second seals what it opens.
        pub(in super::super) fn new(key: &DataKey) -> Result<Self, String> {
            let bytes = STANDARD
                .decode(key.plaintext.expose_secret())
                .map(Zeroizing::new)
                .map_err(|_| "the data key is no base64".to_owned())?;
            if bytes.len() != 2 * KEY {
                return Err(format!("the data key has {} bytes, not 64", bytes.len()));
            }
            let key = |half: &[u8]| {
                UnboundKey::new(&AES_256_GCM, half)
                    .map(LessSafeKey::new)
                    .map_err(|_| "the data key is none of AES".to_owned())
            };
            Ok(Self {
                theirs: key(&bytes[..KEY])?,
                ours: key(&bytes[KEY..])?,
            })
        }

        /// A nonce, and what it sealed.
        pub(in super::super) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, String> {
            let nonce: [u8; NONCE_LEN] = rand::random();
            let mut sealed = plain.to_vec();
            self.ours
                .seal_in_place_append_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::empty(),
                    &mut sealed,
                )
                .map_err(|_| "cannot encrypt".to_owned())?;
            sealed.splice(0..0, nonce);
            Ok(sealed)
        }

        pub(in super::super) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, String> {
            let wrong = || "what the agent encrypted cannot be decrypted".to_owned();
            let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
            let mut plain = sealed.to_vec();
            let length = self
                .theirs
                .open_in_place(nonce, Aad::empty(), &mut plain)
                .map_err(|_| wrong())?
                .len();
            plain.truncate(length);
            Ok(plain)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn key(bytes: &[u8]) -> DataKey {
            DataKey {
                plaintext: STANDARD.encode(bytes).into(),
                ciphertext: String::new(),
            }
        }

        #[test]
        fn each_direction_has_its_half() {
            let bytes: Vec<u8> = (0..64).collect();
            let swapped: Vec<u8> = (32..64).chain(0..32).collect();
            let us = Cipher::new(&key(&bytes)).unwrap();
            let agent = Cipher::new(&key(&swapped)).unwrap();
            let sealed = us.seal(b"hello").unwrap();
            assert_eq!(sealed.len(), 12 + 5 + 16);
            assert_eq!(agent.open(&sealed).unwrap(), b"hello");
            assert!(us.open(&sealed).is_err());
            assert!(us.open(b"short").is_err());
            assert_ne!(us.seal(b"hello").unwrap(), sealed);
        }

        #[test]
        fn a_key_of_another_length_is_none() {
            assert!(Cipher::new(&key(&[0; 32])).is_err());
        }
    }
}

#[cfg(not(feature = "kms"))]
mod without {
    use super::DataKey;

    /// There is none.
    pub(in super::super) enum Cipher {}

    impl Cipher {
        pub(in super::super) const POSSIBLE: bool = false;

        pub(in super::super) fn new(_: &DataKey) -> Result<Self, String> {
            Err("this forno was built without it".to_owned())
        }

        pub(in super::super) fn seal(&self, _: &[u8]) -> Result<Vec<u8>, String> {
            match *self {}
        }

        pub(in super::super) fn open(&self, _: &[u8]) -> Result<Vec<u8>, String> {
            match *self {}
        }
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}
