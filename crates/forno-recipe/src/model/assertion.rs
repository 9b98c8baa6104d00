//! `[[check]]`, `[[test]]` and `[prove]`: what must hold, and where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::{one, pause};
use crate::text::{Condition, Late, Lines, Text, Words};
use crate::units::{Mode, Period};

const fn check_timeout() -> Period {
    Period::from_secs(60)
}

const fn test_timeout() -> Period {
    Period::from_secs(300)
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct CheckEntry {
    /// For people: what it is about. Default: made from what it asserts.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Whether it counts: `false`, or a template that comes to it, leaves it out, as if it were
    /// not in the recipe.
    #[serde(default)]
    pub(crate) when: Condition,
    /// How long one attempt may take.
    #[serde(default = "check_timeout")]
    pub(crate) timeout: Period,
    /// How often it is tried before it counts as failed.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: u32,
    /// The pause before each further attempt.
    #[serde(default = "pause")]
    pub(crate) pause: Period,
    #[serde(flatten)]
    pub(crate) assertion: Assertion,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct TestEntry {
    /// For people: what it is about. Default: made from what it runs or asserts.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Whether it counts: `false`, or a template that comes to it, leaves it out, as if it were
    /// not in the recipe.
    #[serde(default)]
    pub(crate) when: Condition,
    /// How long one attempt may take.
    #[serde(default = "test_timeout")]
    pub(crate) timeout: Period,
    /// How often it is tried before it counts as failed: a service of a
    /// machine that has just started may need a moment.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) attempts: u32,
    /// The pause before each further attempt.
    #[serde(default = "pause")]
    pub(crate) pause: Period,
    #[serde(flatten)]
    pub(crate) kind: TestKindEntry,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum TestKindEntry {
    Run(RunEntry),
    Assertion(Assertion),
}

/// Commands that succeed when all is well.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RunEntry {
    /// Commands: a string, or a list of lines of one script.
    #[schemars(extend("x-forno-template" = "unless-false"))]
    pub(crate) run: Lines,
    /// Whether they run as root, by sudo.
    #[serde(default)]
    pub(crate) sudo: bool,
    /// The program that runs them. Default: `/bin/sh -e`.
    #[serde(default)]
    pub(crate) interpreter: Option<Words>,
    /// Exit codes that count as success. Default: `[0]`.
    #[serde(default)]
    pub(crate) valid_exit_codes: Option<Vec<u8>>,
    /// Environment variables.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, Text>,
    /// Whether `{{ … }}` is filled in. Default: yes.
    #[serde(default)]
    #[expect(dead_code, reason = "acts before the text is read")]
    pub(crate) template: Option<bool>,
}

/// One thing that must hold on a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Assertion {
    File(FileAssertion),
    Package(PackageAssertion),
    Service(ServiceAssertion),
    Port(PortAssertion),
    User(UserAssertion),
    Command(CommandAssertion),
}

/// A file, folder or link on the machine; looked at as root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileAssertion {
    /// An absolute path on the machine.
    pub file: String,
    /// Whether it must be there, or must not.
    #[serde(default = "yes")]
    pub exists: bool,
    /// What it must be. A link is followed for every other kind. Default: anything.
    #[serde(default)]
    pub kind: Option<FileKind>,
    /// Its permission bits.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The name of its owner.
    #[serde(default)]
    pub owner: Option<String>,
    /// The name of its group.
    #[serde(default)]
    pub group: Option<String>,
    /// A text that it must hold.
    #[serde(default)]
    pub contains: Option<Text>,
    /// The SHA-256 of its contents, as 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
}

/// A package of the machine's package manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PackageAssertion {
    /// The package's name.
    pub package: String,
    /// Whether it must be installed, or must not.
    #[serde(default = "yes")]
    pub installed: bool,
    /// Its version; `*` and `?` stand for anything, as in `1.22.*`.
    #[serde(default)]
    pub version: Option<String>,
}

/// A systemd unit. At least one of `enabled` and `active` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAssertion {
    /// The unit's name; `.service` may be left out.
    pub service: String,
    /// Whether it starts with the machine. Default: not looked at.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Whether it runs now. Default: not looked at.
    #[serde(default)]
    pub active: Option<bool>,
}

/// A port of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortAssertion {
    /// The port's number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Whether something must listen there, or must not.
    #[serde(default = "yes")]
    pub listening: bool,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The local address that must be listened on, such as `127.0.0.1`. Default: any.
    #[serde(default)]
    pub address: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserAssertion {
    /// The user's name.
    pub user: String,
    /// Whether the user must exist, or must not.
    #[serde(default = "yes")]
    pub exists: bool,
    /// The user's number.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Groups that the user must belong to; others do not matter.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The home folder.
    #[serde(default)]
    pub home: Option<String>,
    /// The login shell.
    #[serde(default)]
    pub shell: Option<String>,
}

/// A command that must end well, run by `/bin/sh -e`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAssertion {
    /// The command line: a string, or a list of lines of one script.
    pub command: Lines,
    /// Whether it runs as root, by sudo.
    #[serde(default)]
    pub sudo: bool,
    /// Exit codes that count as success.
    #[serde(default = "zero_only")]
    pub valid_exit_codes: Vec<u8>,
    /// A text that its standard output must hold.
    #[serde(default)]
    pub contains: Option<Text>,
}

fn zero_only() -> Vec<u8> {
    vec![0]
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct ProveTable {
    /// Instance types of the test machine. Default: those of the builder.
    pub(crate) instance_types: Vec<String>,
    /// User data of the test machine, as a machine in production would get
    /// it. At most 16 KiB with forno's own. Not a place for secrets: everyone on the
    /// machine can read it.
    pub(crate) user_data: Option<Late>,
    /// A file with the user data, relative to the recipe; `{{ … }}` in it is
    /// not filled in. Not together with `user_data`.
    pub(crate) user_data_file: Option<String>,
}
