//! What a bake made: the file that stays when the builder is gone, for people,
//! for later plans and for whoever publishes the image.

use std::collections::BTreeMap;

use forno_aws::Image;
use forno_events::BakeId;
use forno_guest::Package;
use forno_recipe::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::Saved;

/// The version of the format.
const MANIFEST_VERSION: u16 = 1;

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
    /// In other regions: the ids of the copies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, String>,
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

impl Manifest {
    pub(crate) fn of(
        plan: &Saved,
        image: &Image,
        copies: BTreeMap<String, String>,
        packages: Vec<Package>,
        phases: Vec<PhaseTime>,
        forno_version: &str,
    ) -> Self {
        Self {
            v: MANIFEST_VERSION,
            bake: plan.bake.clone(),
            image: plan.bake.image().to_owned(),
            image_id: image.id.to_string(),
            image_name: plan.ami_name.clone(),
            snapshots: image.snapshots().map(ToString::to_string).collect(),
            region: plan.region.clone(),
            copies,
            account: plan.account(),
            source_id: plan.source.id.to_string(),
            source_name: plan.source.name.clone(),
            digest: plan.digest.clone(),
            forno_version: forno_version.to_owned(),
            started: plan.started,
            finished: Timestamp::now(),
            phases,
            packages,
            tags: plan
                .image_tags
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

impl PhaseTime {
    /// A phase that begins anew, on another machine or in another process, goes on.
    pub(crate) fn add(times: &mut Vec<Self>, phase: &str, elapsed_ms: u64) {
        match times.iter_mut().find(|time| time.phase == phase) {
            Some(time) => time.elapsed_ms = time.elapsed_ms.saturating_add(elapsed_ms),
            None => times.push(Self {
                phase: phase.to_owned(),
                elapsed_ms,
            }),
        }
    }
}
