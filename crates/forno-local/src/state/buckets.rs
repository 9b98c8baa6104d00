//! Buckets and their objects as the world knows them. What is in an object lies
//! in files of the state folder, each named by an id of the endpoint's own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::world::Tags;

/// Names are unique over all regions.
pub(crate) type Buckets = BTreeMap<String, Bucket>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) region: String,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// Documents that are kept and shown, as they are sent: by subresource.
    #[serde(default)]
    pub(crate) documents: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) objects: BTreeMap<String, Object>,
    /// Multipart uploads that are neither completed nor aborted.
    #[serde(default)]
    pub(crate) uploads: BTreeMap<String, Upload>,
}

/// What was put in one go, or a part of what was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// The name of its file.
    pub(crate) file: String,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    /// In their order.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) size: u64,
    /// Without its quotes.
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    pub(crate) headers: Headers,
    #[serde(default)]
    pub(crate) checksum: Option<Checksum>,
}

/// Headers that an object was put with, in small letters; those that are shown
/// again and nothing else.
pub(crate) type Headers = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    /// `crc32`, as in its header.
    pub(crate) algorithm: String,
    /// In base64; with the number of parts where it is one of their checksums.
    pub(crate) value: String,
    pub(crate) composite: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) started: Timestamp,
    pub(crate) headers: Headers,
    /// The algorithm that was asked for, and whether the parts' checksums are
    /// to be put together into one of the whole.
    pub(crate) checksum: Option<(String, bool)>,
    pub(crate) parts: BTreeMap<u32, Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) piece: Piece,
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    pub(crate) checksum: Option<Checksum>,
}

impl Bucket {
    /// All files of its objects and uploads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        let objects = self.objects.values().flat_map(|object| &object.pieces);
        let uploads = self.uploads.values();
        let parts = uploads.flat_map(|upload| upload.parts.values().map(|part| &part.piece));
        objects.chain(parts).map(|piece| piece.file.as_str())
    }
}
