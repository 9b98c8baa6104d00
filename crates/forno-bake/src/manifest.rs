//! What a bake made: the file that stays when the builder is gone, for people,
//! for later plans and for whoever publishes the image.

use std::collections::BTreeMap;

use forno_events::BakeId;
use forno_guest::Package;
use forno_recipe::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of the format.
pub(crate) const MANIFEST_VERSION: u16 = 1;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u16,
    pub bake: BakeId,
    /// The name of the recipe's image.
    pub image: String,
    pub image_id: String,
    /// The name of the AMI.
    pub image_name: String,
    pub snapshots: Vec<String>,
    pub region: String,
    pub account: Option<String>,
    pub source_id: String,
    pub source_name: Option<String>,
    pub digest: Digest,
    pub forno_version: String,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// Wall time of each phase, in order.
    pub phases: Vec<PhaseTime>,
    /// What is installed, by name.
    pub packages: Vec<Package>,
    /// The tags of the image.
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    pub phase: String,
    pub elapsed_ms: u64,
}
