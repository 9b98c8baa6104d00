//! Where the image goes, who may use it, and for how long.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct PublishTable {
    /// Accounts that may start machines from the image, twelve digits each.
    pub(crate) accounts: Vec<String>,
    /// AWS Organizations whose accounts all may, by their ARNs.
    pub(crate) organizations: Vec<String>,
    /// Organizational units whose accounts all may, by their ARNs.
    pub(crate) organizational_units: Vec<String>,
    /// Whether everybody may. The region's block public access for AMIs must be off.
    pub(crate) public: bool,
    /// Whether `accounts` may also make volumes of the image's snapshots, which they
    /// need to copy the image.
    pub(crate) share_snapshots: bool,
    /// Whether everybody may make volumes of the image's snapshots. The region's block public
    /// access for snapshots must be off.
    pub(crate) public_snapshots: bool,
    /// After how long, from the bake's beginning, the image counts as deprecated: at
    /// most `366d`. A deprecated image works as before, but others do not find it
    /// any more. Default: never.
    pub(crate) deprecate_in: Option<Period>,
    /// Protects the image against deregistration, by forno too, until the protection
    /// is taken off. Default: not.
    pub(crate) deregistration_protection: Option<DeregistrationProtection>,
    /// What machines of the image get of the instance metadata service where their launch
    /// does not say: with `v2.0` it wants a session token (IMDSv2) and lets answers travel
    /// two hops. EC2 lets nobody take it back. Default: as the launch says.
    pub(crate) imds_support: Option<ImdsSupport>,
    /// Regions to which the image is copied, besides the one in which it is made.
    pub(crate) regions: Vec<String>,
    /// The KMS key (id, alias or ARN) that a copy is encrypted with, by region. Default:
    /// as the image is; a copy of an encrypted one then has the account's own key for
    /// EBS in that region.
    pub(crate) kms_key_ids: BTreeMap<String, String>,
    /// How long EC2 may take for each snapshot of a copy: `15m` to `48h`, in quarters of an
    /// hour. Such copies cost extra, by their size. Default: as it comes, mostly minutes.
    pub(crate) copy_within: Option<Period>,
    /// Not available yet: the channel that points to the newest image.
    pub(crate) channel: Option<String>,
}

/// EC2's attribute of an image, which has this one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImdsSupport {
    #[serde(rename = "v2.0")]
    V2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeregistrationProtection {
    /// It ends as soon as it is taken off.
    WithoutCooldown,
    /// It goes on for 24 hours after it was taken off.
    WithCooldown,
}
