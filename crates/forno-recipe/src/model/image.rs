//! What is made, from what, and with which values.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Architecture, VolumeType};
use crate::text::{Late, Values};

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ImageTable {
    /// The image's name within the project and in the account: bakes, tags and
    /// logs are found by it. 3 to 64 letters, digits, `.`, `_` and `-`,
    /// beginning with a letter or digit. No template.
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) name: String,
    /// One sentence for people; becomes the AMI's description (at most 255 characters).
    #[serde(default)]
    pub(crate) description: Option<Late>,
    /// The name (`image.name`) of the recipe whose newest finished image is
    /// the start of this one. In place of `[source]`. No template.
    #[serde(default)]
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) from: Option<String>,
    /// The name of the AMI; unique within an account and region, so it should
    /// hold something that differs from bake to bake. 3 to 128 of the
    /// characters that EC2 allows: letters, digits, space and `()[]./-'@_`.
    /// Default: `{{ image.name }}-{{ bake.timestamp }}-{{ bake.short_id }}`.
    #[serde(default)]
    pub(crate) ami_name: Option<Late>,
    /// The processor architecture. Default: that of the recipe named by
    /// `from`, otherwise `x86_64`.
    #[serde(default)]
    pub(crate) architecture: Option<Architecture>,
    /// The root volume that machines of the image get, where it shall not be like the
    /// builder's: a fast disk makes the bake quick, and every machine of the image would
    /// pay for it.
    #[serde(default)]
    pub(crate) disk: Option<ImageDisk>,
    /// Makes the image by CreateSnapshot and RegisterImage, and says what only those can; `{}`
    /// says nothing. Not for Spot Instances. Default: by CreateImage.
    #[serde(default)]
    pub(crate) register: Option<RegisterTable>,
    /// Tags of the image and its snapshots. Names beginning with `aws:` or
    /// `forno:` are reserved; forno adds its own and `Name`.
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, Late>,
    /// Tags of the snapshots only, besides those of the image and instead of those of the
    /// same name.
    #[serde(default)]
    pub(crate) snapshot_tags: BTreeMap<String, Late>,
}

/// The root volume that machines of the image get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct ImageDisk {
    /// The kind of volume. Its size and encryption are the builder's.
    pub r#type: VolumeType,
    /// Operations per second, in the ranges of `builder.disk.iops`.
    pub iops: Option<u32>,
    /// MiB per second, in the ranges of `builder.disk.throughput`.
    pub throughput: Option<u32>,
}

/// How machines of an image that is registered boot.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct RegisterTable {
    /// How machines of the image boot; arm64 knows `uefi` alone. Default: as those of the
    /// source image.
    pub(crate) boot_mode: Option<BootMode>,
    /// Gives machines of the image a TPM; with `boot_mode = "uefi"`. Default: as those of the
    /// source image have one.
    pub(crate) tpm_support: Option<TpmSupport>,
    /// A file with the UEFI variables that machines of the image begin with, in base64 as
    /// GetInstanceUefiData gives them: keys for Secure Boot. Relative to the recipe, at most 64
    /// KiB. Default: EC2's own.
    pub(crate) uefi_data_file: Option<String>,
}

/// EC2's boot modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    LegacyBios,
    Uefi,
    /// UEFI where the instance type has it.
    UefiPreferred,
}

impl BootMode {
    /// EC2's own word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LegacyBios => "legacy-bios",
            Self::Uefi => "uefi",
            Self::UefiPreferred => "uefi-preferred",
        }
    }
}

/// EC2's attribute of an image, which has this one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TpmSupport {
    #[serde(rename = "v2.0")]
    V2,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct SourceTable {
    /// The id of one AMI: `ami-` and hexadecimal digits. Differs from region to region.
    #[serde(default)]
    pub(crate) ami: Option<String>,
    /// The name of an SSM parameter that holds an AMI's id, such as
    /// `/aws/service/debian/release/12/latest/amd64`.
    #[serde(default)]
    pub(crate) ssm: Option<String>,
    /// Accounts whose AMIs are searched: twelve digits each, or `self`,
    /// `amazon`, `aws-marketplace`. Required with `name`: anyone may publish
    /// an AMI of any name.
    #[serde(default)]
    pub(crate) owners: Vec<String>,
    /// The AMI's name, `*` and `?` standing for anything; the newest match is taken.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// More conditions of the search by name, by EC2's own filter names, such
    /// as `{ virtualization-type = "hvm" }`. Several values are alternatives.
    #[serde(default)]
    pub(crate) filters: BTreeMap<String, Values>,
    /// Whether the search by name also finds AMIs past their deprecation date.
    #[serde(default)]
    pub(crate) include_deprecated: bool,
}

/// A variable: its default value, or a table that says more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum VarEntry {
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// The default value; it may use other variables: `"{{ vars.other }}"`.
    String(String),
    Table(VarSpec),
}

/// A variable whose value comes from elsewhere, is typed, or is a secret.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct VarSpec {
    /// The value where nothing else gives one. A string may use other
    /// variables. Not together with `secret`.
    #[serde(default)]
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) default: Option<VarDefault>,
    /// Where the value is read at the time of the bake: `env:NAME` (an
    /// environment variable) or `file:PATH` (a file relative to the recipe;
    /// line ends at its end are dropped).
    #[serde(default)]
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) from: Option<String>,
    /// The type to which a text from outside is converted. Default: that of
    /// `default`, otherwise `string`.
    #[serde(default)]
    pub(crate) r#type: Option<VarType>,
    /// Whether the value must never be shown. A secret may be used in
    /// commands, environments, file contents and Ansible variables; it is
    /// refused in names, tags and user data.
    #[serde(default)]
    pub(crate) secret: bool,
    /// For people: what it is.
    #[serde(default)]
    #[schemars(extend("x-forno-template" = "never"))]
    #[expect(dead_code, reason = "for the reader of the recipe")]
    pub(crate) description: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum VarDefault {
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VarType {
    String,
    Integer,
    Float,
    Bool,
}
