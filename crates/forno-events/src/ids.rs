//! Typed names, so that a step cannot be passed where a bake is meant.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One bake: `<image name>-<ULID>`, sortable by time within an image, usable as
/// a file name, an EC2 tag value and part of a resource name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BakeId(String);

/// A text that cannot be a bake's name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a bake: expected `IMAGE-ULID`, as `forno bakes` lists them")]
pub struct InvalidBakeId(pub String);

impl BakeId {
    /// A new one, for an image, now.
    pub fn new(image: &str) -> Self {
        Self(format!(
            "{image}-{}",
            ulid::Ulid::generate().to_string().to_lowercase()
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the image that it bakes.
    pub fn image(&self) -> &str {
        self.0.rsplit_once('-').map_or("", |(image, _)| image)
    }

    /// When it began, to the millisecond: the ULID says so.
    pub fn began(&self) -> Timestamp {
        let millis = self
            .0
            .rsplit_once('-')
            .and_then(|(_, ulid)| ulid.parse::<ulid::Ulid>().ok())
            .and_then(|ulid| i64::try_from(ulid.timestamp_ms()).ok());
        millis
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The last characters of the ULID: enough to tell bakes apart in a name.
    pub fn short(&self) -> &str {
        self.0.get(self.0.len().saturating_sub(10)..).unwrap_or("")
    }
}

impl fmt::Display for BakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BakeId {
    type Err = InvalidBakeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for BakeId {
    type Error = InvalidBakeId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.rsplit_once('-').is_some_and(|(image, ulid)| {
            !image.is_empty()
                && image
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && !image.starts_with('.')
                && ulid.parse::<ulid::Ulid>().is_ok()
        });
        if valid {
            Ok(Self(text))
        } else {
            Err(InvalidBakeId(text))
        }
    }
}

impl From<BakeId> for String {
    fn from(id: BakeId) -> Self {
        id.0
    }
}

/// One step of a bake, by its place and kind: `key-pair`, `builder`,
/// `connect`, `step-01`, `check-03`, `seal`, `image`, `test-02`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bake_names_its_image() {
        let id = BakeId::new("piaas-worker");
        assert_eq!(id.image(), "piaas-worker");
        assert_eq!(id.as_str().parse::<BakeId>().unwrap(), id);
    }

    #[test]
    fn a_path_is_not_a_bake() {
        for text in [
            "",
            "x",
            "../etc-01j00000000000000000000000",
            "a-b",
            ".a-01j0",
        ] {
            assert!(text.parse::<BakeId>().is_err(), "{text}");
        }
    }
}
