//! One number for everything that can change what a bake makes.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::recipe::Recipe;

/// Raised when the same recipe begins to mean something else.
pub const SEMANTICS: u32 = 1;

/// The digest of a bake, and of the parts that it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// SHA-256 over the parts, 64 hexadecimal digits. What stands in the tag `forno:digest`.
    pub whole: String,
    /// `recipe`, `source`, `semantics`, `var NAME` and `file PATH`, each with its
    /// own SHA-256 (variables that are secrets: an HMAC).
    pub parts: BTreeMap<String, String>,
}

/// Why a digest could not be made: a file that was there before is not readable now.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DigestError(#[from] std::io::Error);

/// The digest of baking `recipe` from the AMI `source_id`.
pub fn digest(recipe: &Recipe, source_id: &str) -> Result<Digest, DigestError> {
    let _ = (recipe, source_id);
    todo!()
}

impl Digest {
    /// The names of parts that differ, came or went, since `older`.
    pub fn changes_since(&self, older: &Self) -> Vec<String> {
        let _ = older;
        todo!()
    }
}
