//! Steps as plain data: what to do, with every path resolved and every
//! template filled in. The recipe's own types are mapped to these.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use forno_events::Outcome;
use secrecy::SecretString;

use crate::StepError;

/// One step, with how patiently it is done.
#[derive(Clone, Debug)]
pub struct Step {
    /// For people.
    pub name: String,
    /// Of one attempt.
    pub timeout: Duration,
    /// At least 1.
    pub attempts: u32,
    /// Before each further attempt.
    pub pause: Duration,
    pub on_failure: OnFailure,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    #[default]
    Fail,
    Continue,
    /// [`crate::StepContext::decide`] is asked.
    Ask,
}

#[derive(Clone, Debug)]
pub enum Action {
    Shell(Shell),
    Upload(Upload),
    Download(Download),
    Ansible(Ansible),
    Local(Local),
    Reboot,
    Assert(Assertion),
}

impl Action {
    /// For messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Shell(_) => "the script",
            Self::Upload(_) => "the upload",
            Self::Download(_) => "the download",
            Self::Ansible(_) => "the playbook",
            Self::Local(_) => "the local script",
            Self::Reboot => "the restart",
            Self::Assert(_) => "the check",
        }
    }
}

/// A script on the machine.
///
/// It is run with standard input at end of file, in the login user's home (as
/// root: in root's), with `DEBIAN_FRONTEND=noninteractive` unless `env` says
/// otherwise. Neither script nor environment ever stands in an argument or on
/// the machine's disk: both go to a private folder in memory (`/dev/shm`, where
/// there is one), removed afterwards.
#[derive(Clone, Debug)]
pub struct Shell {
    pub script: Script,
    pub args: Vec<SecretString>,
    /// As root by `sudo -n`. `env` reaches the script all the same, as with
    /// `sudo -E`; nothing of the login user's own environment does.
    pub sudo: bool,
    /// `None`: the script's own `#!` line, or `/bin/sh -e` without one: the
    /// first failing command ends it.
    pub interpreter: Option<Vec<String>>,
    /// Exit codes that count as success.
    pub valid_exit_codes: Vec<u32>,
    pub env: BTreeMap<String, SecretString>,
}

#[derive(Clone, Debug)]
pub enum Script {
    Inline(SecretString),
    File(PathBuf),
}

/// A script on this machine, which bakes, and with its environment.
#[derive(Clone, Debug)]
pub struct Local {
    pub script: Script,
    pub args: Vec<SecretString>,
    /// `None`: the script's own `#!` line, or `/bin/sh -e` without one.
    pub interpreter: Option<Vec<String>>,
    /// Exit codes that count as success.
    pub valid_exit_codes: Vec<u32>,
    pub env: BTreeMap<String, SecretString>,
    /// Where it runs.
    pub folder: PathBuf,
}

/// A file or folder to the machine.
#[derive(Clone, Debug)]
pub struct Upload {
    pub source: UploadSource,
    /// An absolute path on the machine. Missing folders on the way are made.
    pub to: String,
    /// `None`: as the local file; 0644 for content. Not for folders.
    pub mode: Option<u32>,
    /// Name or number.
    pub owner: String,
    pub group: String,
}

#[derive(Clone, Debug)]
pub enum UploadSource {
    Content(SecretString),
    File(PathBuf),
    /// Its contents become those of `to`; symbolic links stay links.
    Folder(PathBuf),
}

/// A file, or a folder's contents, from the machine.
#[derive(Clone, Debug)]
pub struct Download {
    pub from: String,
    pub to: PathBuf,
}

/// A playbook, run by an `ansible-playbook`.
#[derive(Clone, Debug)]
pub struct Ansible {
    pub playbook: PathBuf,
    /// By that of the machine, which must have one; else by that of this computer.
    pub on_builder: bool,
    pub requirements: Option<PathBuf>,
    pub roles_path: Vec<PathBuf>,
    pub groups: Vec<String>,
    /// That nobody belongs to.
    pub empty_groups: Vec<String>,
    /// The machine's name in the inventory.
    pub host: String,
    /// A file or folder beside our own; plays are limited to the machine then.
    pub inventory: Option<PathBuf>,
    /// Go to Ansible in a file that only its user can read.
    pub extra_vars: BTreeMap<String, SecretValue>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub r#become: bool,
    pub verbosity: u8,
    /// Of ansible-playbook.
    pub env: BTreeMap<String, SecretString>,
    pub args: Vec<String>,
}

/// A JSON value that may hold secrets; never shown.
#[derive(Clone)]
pub struct SecretValue(pub serde_json::Value);

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue")
    }
}

/// One thing that must hold on a machine; looked at as root.
#[derive(Clone, Debug)]
pub enum Assertion {
    File(FileAssertion),
    Package(PackageAssertion),
    Service(ServiceAssertion),
    Port(PortAssertion),
    User(UserAssertion),
    Command(CommandAssertion),
}

#[derive(Clone, Debug)]
pub struct FileAssertion {
    pub path: String,
    pub exists: bool,
    /// A link is followed for every kind but `Symlink`.
    pub kind: Option<FileKind>,
    pub mode: Option<u32>,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub contains: Option<SecretString>,
    /// 64 hexadecimal digits.
    pub sha256: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
}

#[derive(Clone, Debug)]
pub struct PackageAssertion {
    pub name: String,
    pub installed: bool,
    /// `*` and `?` stand for anything.
    pub version: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ServiceAssertion {
    pub name: String,
    pub enabled: Option<bool>,
    pub active: Option<bool>,
}

#[derive(Clone, Debug)]
pub struct PortAssertion {
    pub port: u16,
    pub listening: bool,
    pub protocol: Protocol,
    /// `None`: any.
    pub address: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Debug)]
pub struct UserAssertion {
    pub name: String,
    pub exists: bool,
    pub uid: Option<u32>,
    /// Others do not matter.
    pub groups: Vec<String>,
    pub home: Option<String>,
    pub shell: Option<String>,
}

/// A command that must end well, run by `/bin/sh -e`.
#[derive(Clone, Debug)]
pub struct CommandAssertion {
    pub command: SecretString,
    pub sudo: bool,
    pub valid_exit_codes: Vec<u32>,
    /// A text that standard output must hold.
    pub contains: Option<SecretString>,
}

/// What an assertion found to be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Such as `mode of /etc/motd`.
    pub what: String,
    pub expected: String,
    pub found: String,
}

/// A step that is over, and that the bake goes on after.
#[derive(Debug)]
pub struct StepReport {
    /// `Ok` or `Tolerated`.
    pub outcome: Outcome,
    pub attempts: u32,
    pub elapsed: Duration,
    /// What was tolerated.
    pub error: Option<StepError>,
}
