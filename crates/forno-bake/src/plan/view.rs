//! A plan as it is shown: plain data for people and for programs.

use std::collections::BTreeMap;

use forno_events::StepInfo;
use forno_recipe::{DataVolume, Digest, LeftOut, Market, Publish, Register};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a bake of one recipe would do.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The name of the recipe's image.
    pub image: String,
    pub region: String,
    pub account: Option<String>,
    pub source: PlannedSource,
    /// The name that the AMI would get.
    pub ami_name: String,
    pub architecture: String,
    pub network: Network,
    /// Tried in this order until one can be had.
    pub candidates: Vec<Candidate>,
    /// Of the builder, besides its root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<DataVolume>,
    /// How the image is registered; `None`: made by CreateImage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
    /// Whether snapshots are begun before the builder stops.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub early_snapshots: bool,
    pub variables: Vec<Variable>,
    /// Of the image and its snapshots.
    pub tags: BTreeMap<String, String>,
    /// Unknown while the source is.
    pub digest: Option<Digest>,
    pub change: Change,
    /// Who may use the image, and for how long.
    pub publish: Publish,
    pub steps: Vec<StepInfo>,
    /// Entries of the recipe that do not count this time, by their `when`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How long it may take, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    pub preflight: Vec<Preflight>,
    /// What a person should know and nothing stops at.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PlannedSource {
    Image(SourceImage),
    /// The image of another recipe that is baked before in the same run.
    BakedBefore {
        recipe: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct SourceImage {
    pub id: String,
    pub name: Option<String>,
    pub created: Option<Timestamp>,
    /// How it was found, in words.
    pub found_by: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Network {
    pub vpc: String,
    pub subnets: Vec<String>,
    /// Existing groups; empty: one is made for the bake.
    pub security_groups: Vec<String>,
    /// From where the builder can be reached, if a group is made.
    pub ingress: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    pub instance_type: String,
    pub subnet: String,
    pub availability_zone: String,
    pub market: Market,
}

/// The median of bakes that this machine remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    pub elapsed_ms: u64,
    /// Of how many.
    pub bakes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Variable {
    pub name: String,
    /// A mask for secrets.
    pub value: serde_json::Value,
    pub origin: serde_json::Value,
}

/// How the bake compares with the newest finished image of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Change {
    /// There is no such image.
    First,
    /// It would come out as it is.
    None {
        image_id: String,
        image_name: String,
    },
    Changed {
        image_id: String,
        image_name: String,
        /// Which parts of the digest differ; empty when the old ones are not
        /// known on this machine.
        parts: Vec<String>,
    },
    /// It starts from an image that is baked anew in the same run.
    Base { recipe: String },
}

impl Change {
    /// In words, for people: why it is baked, or why not.
    pub fn reason(&self) -> String {
        match self {
            Self::First => "there is no finished image of this name yet".to_owned(),
            Self::None { image_name, .. } => format!("nothing has changed since {image_name}"),
            Self::Changed {
                image_name, parts, ..
            } if parts.is_empty() => format!("changed since {image_name}"),
            Self::Changed {
                image_name, parts, ..
            } => format!("changed since {image_name}: {}", parts.join(", ")),
            Self::Base { recipe } => format!("`{recipe}`, which it starts from, is baked anew"),
        }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::None { .. })
    }
}

/// One call, asked about without doing it.
#[derive(Clone, Debug, Serialize)]
pub struct Preflight {
    pub call: String,
    pub outcome: PreflightOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreflightOutcome {
    Allowed,
    /// Cannot be told without doing it.
    Unclear,
}
