//! A checked recipe: plain data, with every rule of the format already kept.
//!
//! Paths are resolved, defaults filled in, templates rendered (but for
//! [`Late`] ones). Serialising gives the *resolved recipe*: secrets masked,
//! paths as the recipe wrote them, so that it is the same in every checkout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{
    Address, Architecture, Assertion, BootMode, Connect, DataVolume, DeregistrationProtection,
    Disk, ImageDisk, Imds, ImdsSupport, MachineOptions, Market, OnFailure, SealAllow, SealItem,
    SshOptions, Timeouts, TpmSupport,
};
use crate::text::{Late, Text, Value};
use crate::units::{Mode, Period};

/// What stands for a secret wherever it would be shown.
pub const MASK: &str = "********";

/// One image to bake.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    /// `image.name`.
    pub name: String,
    /// The recipe's file.
    #[serde(skip)]
    pub file: PathBuf,
    pub description: Option<Late>,
    /// The name that the AMI gets.
    pub ami_name: Late,
    pub architecture: Architecture,
    /// Of the image and its snapshots, besides forno's own.
    pub tags: BTreeMap<String, Late>,
    /// Of the snapshots only, over those of the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshot_tags: BTreeMap<String, Late>,
    /// The root volume that machines of the image get; `None`: as the builder's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<ImageDisk>,
    /// Made by RegisterImage; `None`: by CreateImage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
    pub source: Source,
    pub vars: BTreeMap<String, Var>,
    pub builder: Builder,
    pub steps: Vec<Step>,
    pub checks: Vec<Check>,
    /// Left out where it says nothing: a recipe without it keeps its digest.
    #[serde(skip_serializing_if = "Seal::is_empty")]
    pub seal: Seal,
    pub prove: Prove,
    pub tests: Vec<Test>,
    /// What is done on a machine where something failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Step>,
    /// Left out where it says nothing, as well.
    #[serde(skip_serializing_if = "Publish::is_empty")]
    pub publish: Publish,
    /// What its `when` leaves out: for people, and no part of what is baked.
    #[serde(skip)]
    pub left_out: Vec<LeftOut>,
    /// Keys the digest's hashes of secrets, see [`crate::digest()`].
    #[serde(skip)]
    pub digest_key: Option<SecretString>,
}

impl Recipe {
    /// The recipe that this one starts from, when it does.
    pub fn from(&self) -> Option<&str> {
        match &self.source {
            Source::Recipe { name } => Some(name),
            _ => None,
        }
    }

    /// Every secret of the recipe, by variable, for whoever masks output.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.vars.iter().filter_map(|(name, var)| match &var.value {
            VarValue::Secret(secret) => Some((name.as_str(), secret)),
            _ => None,
        })
    }
}

/// An entry that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// `step`, `check`, `test` or `on_failure`.
    pub list: &'static str,
    pub name: String,
}

/// Where the image goes, who may use it, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Publish {
    /// To which it is copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// What copies are encrypted with, by region.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kms_key_ids: BTreeMap<String, String>,
    /// Accounts that may start machines from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Organizations that may, by their ARNs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
    /// Organizational units that may, by their ARNs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizational_units: Vec<String>,
    /// Everybody may.
    pub public: bool,
    /// The accounts may also make volumes of its snapshots.
    pub share_snapshots: bool,
    /// Everybody may make volumes of its snapshots.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public_snapshots: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecate_in: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deregistration_protection: Option<DeregistrationProtection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds_support: Option<ImdsSupport>,
    /// For each snapshot of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_within: Option<Period>,
}

impl Publish {
    /// It stays where and as EC2 makes it: private, and current for ever.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anybody else may start machines from it.
    pub fn is_shared(&self) -> bool {
        let listed = [
            &self.accounts,
            &self.organizations,
            &self.organizational_units,
        ];
        self.public || listed.into_iter().any(|list| !list.is_empty())
    }
}

/// How machines of a registered image boot; `None` is as those of the source image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Register {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_support: Option<TpmSupport>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uefi_data: Option<SourcePath>,
}

/// What an image starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An AMI by its id.
    Ami { id: String },
    /// The AMI whose id an SSM parameter holds.
    Ssm { parameter: String },
    /// The newest AMI that matches.
    Search {
        owners: Vec<String>,
        name: String,
        filters: Filters,
        include_deprecated: bool,
    },
    /// The newest finished image of another recipe.
    Recipe { name: String },
}

/// A variable with its value and where that came from.
#[derive(Clone, Debug, Serialize)]
pub struct Var {
    pub value: VarValue,
    pub origin: VarOrigin,
}

#[derive(Clone)]
pub enum VarValue {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Secret(SecretString),
}

impl std::fmt::Debug for VarValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Secret(_) => f.write_str(MASK),
        }
    }
}

impl Serialize for VarValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(value) => serializer.serialize_str(value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Secret(_) => serializer.serialize_str(MASK),
        }
    }
}

/// Which of the possible places a variable's value came from; a later one
/// of these wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VarOrigin {
    /// The `default` in the recipe or in `forno.toml`.
    Default,
    /// `from = "env:…"`.
    Environment(String),
    /// `from = "file:…"`.
    File(String),
    /// `FORNO_VAR_name`.
    ForcedEnvironment,
    VarFile(PathBuf),
    CommandLine,
    /// Nothing gave a value, and [`crate::Unset::StandIn`] was asked for.
    StandIn,
}

/// A file or folder that the recipe names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePath {
    /// As the recipe has it.
    pub written: String,
    pub absolute: PathBuf,
}

impl AsRef<Path> for SourcePath {
    fn as_ref(&self) -> &Path {
        &self.absolute
    }
}

impl Serialize for SourcePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

/// The machine on which the image is made.
#[derive(Clone, Debug, Serialize)]
pub struct Builder {
    /// Never empty; tried in order.
    pub instance_types: Vec<String>,
    pub disk: Disk,
    /// Besides the root; no two at one device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<DataVolume>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub early_snapshots: bool,
    /// Never empty; tried in order, the types of one before the next.
    #[serde(skip_serializing_if = "is_on_demand")]
    pub market: Vec<Market>,
    /// USD per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot_max_price: Option<String>,
    /// Tried in order; empty: those found by the filters.
    pub subnet_ids: Vec<String>,
    /// By EC2's filter names; the values of one are alternatives.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subnet_filters: Filters,
    /// `None`, and no filters: the default VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vpc_filters: Filters,
    /// Empty, and no filters: one is made for the bake.
    pub security_group_ids: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub security_group_filters: Filters,
    /// `None`: as the subnet says.
    pub public_ip: Option<bool>,
    pub instance_profile: Option<String>,
    /// Made for the bake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporary_profile: Option<TemporaryProfile>,
    /// Beside forno's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    #[serde(skip_serializing_if = "MachineOptions::is_default")]
    pub machine: MachineOptions,
    pub user: String,
    pub connect: Connect,
    /// Which one SSH goes to; `None`: the public one where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Through which SSH goes; never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_command: Option<Vec<String>>,
    #[serde(skip_serializing_if = "SshOptions::is_default")]
    pub ssh: SshOptions,
    /// Empty: this machine's own address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress_cidrs: Vec<String>,
    /// Where Run Command is how the machine is reached.
    pub bucket: Bucket,
    pub timeouts: Timeouts,
    pub imds: Imds,
    /// Of everything temporary, besides forno's own.
    pub tags: BTreeMap<String, Late>,
}

/// What the machines of a bake may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TemporaryProfile {
    /// In JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_arns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
}

/// Conditions of a search, by EC2's filter names; the values of one are alternatives.
pub type Filters = BTreeMap<String, Vec<String>>;

/// A recipe that says nothing keeps its digest.
fn is_on_demand(market: &Vec<Market>) -> bool {
    *market == [Market::OnDemand]
}

/// Through what files get to a machine that nothing but its agent is reached by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bucket {
    /// Made for the bake.
    Temporary,
    Named(String),
    /// Through none: in the text of commands.
    None,
}

/// One step on the builder.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// As the recipe names it, or made from what it does.
    pub name: String,
    /// Of one attempt.
    pub timeout: Period,
    /// At least 1.
    pub attempts: u32,
    /// Before each further attempt.
    pub pause: Period,
    pub on_failure: OnFailure,
    pub action: Action,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Shell(Shell),
    Upload(Upload),
    Download(Download),
    Ansible(Ansible),
    /// On this machine; never as root.
    Local(Shell),
    Reboot,
    /// With a note for the person who is asked.
    Breakpoint(Option<Text>),
}

impl Action {
    /// The word for it in the recipe.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Shell(_) => "shell",
            Self::Upload(_) | Self::Download(_) => "file",
            Self::Ansible(_) => "ansible",
            Self::Local(_) => "local",
            Self::Reboot => "reboot",
            Self::Breakpoint(_) => "breakpoint",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Shell {
    pub script: Script,
    pub args: Vec<String>,
    pub sudo: bool,
    /// `None`: the script's own `#!` line, or `/bin/sh -e` without one. Never empty.
    pub interpreter: Option<Vec<String>>,
    pub valid_exit_codes: Vec<u8>,
    pub env: BTreeMap<String, Text>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// From the recipe itself.
    Inline(Text),
    /// A file, sent as it is.
    File(SourcePath),
    /// A file with its `{{ … }}` filled in.
    Rendered { path: SourcePath, text: Text },
}

#[derive(Clone, Debug, Serialize)]
pub struct Upload {
    pub source: UploadSource,
    /// An absolute path on the machine.
    pub to: String,
    /// `None`: as here; for content 0644.
    pub mode: Option<Mode>,
    pub owner: String,
    pub group: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadSource {
    Content(Text),
    File(SourcePath),
    /// Its contents become those of `to`; symbolic links stay links.
    Folder(SourcePath),
    /// A file with its `{{ … }}` filled in.
    Rendered {
        path: SourcePath,
        text: Text,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct Download {
    /// An absolute path on the machine.
    pub from: String,
    /// A file here, to be made with its folders.
    pub to: SourcePath,
}

#[derive(Clone, Debug, Serialize)]
pub struct Ansible {
    pub playbook: SourcePath,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_builder: bool,
    pub requirements: Option<SourcePath>,
    pub roles_path: Vec<SourcePath>,
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub empty_groups: Vec<String>,
    /// The builder's name in the inventory.
    #[serde(skip_serializing_if = "is_usual_host")]
    pub host: String,
    /// A file or folder beside forno's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<SourcePath>,
    pub extra_vars: BTreeMap<String, Value>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub r#become: bool,
    pub verbosity: u8,
    /// Of ansible-playbook on the baking machine.
    pub env: BTreeMap<String, Text>,
    pub args: Vec<String>,
}

impl Ansible {
    /// Unless the recipe says otherwise.
    pub(crate) const HOST: &str = "builder";
}

/// A recipe that says nothing keeps its digest.
fn is_usual_host(host: &str) -> bool {
    host == Ansible::HOST
}

/// An assertion about the builder.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub timeout: Period,
    pub attempts: u32,
    pub pause: Period,
    pub assertion: Assertion,
}

/// How the builder is made ready to become an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seal {
    /// Not forgotten. In order, each once.
    pub keep: Vec<SealItem>,
    /// Where a find is no fault, and why.
    pub allow: Vec<SealAllow>,
}

impl Seal {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The machine started from the new image.
#[derive(Clone, Debug, Serialize)]
pub struct Prove {
    /// Never empty.
    pub instance_types: Vec<String>,
    pub user_data: Option<UserData>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserData {
    Text(Late),
    File(SourcePath),
}

/// Something that must hold on a machine started from the new image.
#[derive(Clone, Debug, Serialize)]
pub struct Test {
    pub name: String,
    pub timeout: Period,
    pub attempts: u32,
    pub pause: Period,
    pub kind: TestKind,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// Its script is always [`Script::Inline`].
    Run(Shell),
    Assert(Assertion),
}
