//! The endpoint's own access key: made at the first start, kept in the state
//! folder, readable by its user only.

use std::path::Path;

use base64::Engine as _;
use rand::{Rng as _, RngCore as _};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::state::folder::{read_json, write_json};

/// An access key pair made by the endpoint at its first start.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Public half.
    pub access_key_id: String,
    /// Secret half.
    pub secret_access_key: String,
}

impl Credentials {
    /// Those in the file, or fresh ones that are in the file from then on.
    pub(crate) fn load_or_make(file: &Path) -> Result<Self, Error> {
        if let Some(known) = read_json(file)? {
            return Ok(known);
        }
        let made = Self::generate();
        write_json(file, &made)?;
        Ok(made)
    }

    fn generate() -> Self {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut random = rand::rng();
        let tail: String = (0..11)
            .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
            .collect();
        let mut secret = [0_u8; 30];
        random.fill_bytes(&mut secret);
        Self {
            access_key_id: format!("AKIAFORNO{tail}"),
            secret_access_key: base64::engine::general_purpose::STANDARD.encode(secret),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials.json");
        let made = Credentials::load_or_make(&file).unwrap();
        assert_eq!(Credentials::load_or_make(&file).unwrap(), made);
        assert_eq!(
            (made.access_key_id.len(), made.secret_access_key.len()),
            (20, 40)
        );
        assert!(!format!("{made:?}").contains(&made.secret_access_key));
    }
}
