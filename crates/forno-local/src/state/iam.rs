//! Roles and instance profiles as the world knows them. They are the account's, of no region.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::world::{ACCOUNT, Tags};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Iam {
    /// By name, as all of this.
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) profiles: BTreeMap<String, Profile>,
    /// Profiles that were made and deleted here.
    pub(crate) gone: BTreeSet<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) id: String,
    /// Begins and ends with a slash.
    pub(crate) path: String,
    pub(crate) created: Timestamp,
    /// Who may assume it, in JSON.
    pub(crate) trust: String,
    pub(crate) description: Option<String>,
    /// Of a session, in seconds.
    pub(crate) longest: i64,
    pub(crate) boundary: Option<String>,
    /// Its own, by name, in JSON.
    pub(crate) policies: BTreeMap<String, String>,
    /// Managed ones, by ARN.
    pub(crate) attached: BTreeSet<String>,
    pub(crate) tags: Tags,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) created: Timestamp,
    pub(crate) role: Option<String>,
    pub(crate) tags: Tags,
}

impl Role {
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{}", self.path, self.name)
    }
}

impl Profile {
    /// Path and name, as its ARN has them.
    pub(crate) fn full_name(&self) -> String {
        format!("{}{}", &self.path[1..], self.name)
    }

    pub(crate) fn arn(&self) -> String {
        profile_arn(&self.full_name())
    }

    pub(crate) fn id(&self) -> String {
        profile_id(&self.full_name())
    }
}

impl Iam {
    /// The role of an instance whose profile was made here; by the profile's full name.
    pub(crate) fn role_of(&self, profile: &str) -> Option<(&Profile, &Role)> {
        let name = profile.rsplit('/').next()?;
        let known = self.profiles.get(name)?;
        let role = self.roles.get(known.role.as_deref()?)?;
        (known.full_name() == profile).then_some((known, role))
    }
}

/// `profile` is its full name.
pub(crate) fn profile_arn(profile: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:instance-profile/{profile}")
}

/// As IAM's ids look; the same for the same name.
pub(crate) fn profile_id(profile: &str) -> String {
    use sha2::Digest as _;
    let hash = hex::encode_upper(sha2::Sha256::digest(profile));
    format!("AIPA{}", &hash[..17])
}
