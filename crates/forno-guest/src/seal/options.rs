//! What to forget, and what was found.

use secrecy::SecretString;

/// Something that is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SealItem {
    /// forno's line in every `authorized_keys`.
    AuthorizedKeys,
    /// The SSH host keys; the next boot makes new ones.
    HostKeys,
    MachineId,
    /// State, user data and logs of cloud-init: the next boot is a first boot.
    CloudInit,
    /// Leases, and the identity that a DHCP client keeps.
    DhcpLeases,
    RandomSeed,
    /// Names given to network cards of this machine.
    NetworkNames,
    PackageCaches,
    /// The indexes of apt: the next `apt-get update` brings them back.
    AptLists,
    Histories,
    /// What Ansible leaves in home folders.
    AnsibleRemains,
    /// The SSM agent's registration, and what it was told to run.
    SsmAgent,
    TemporaryFiles,
    Logs,
}

impl SealItem {
    pub const ALL: [Self; 14] = [
        Self::AuthorizedKeys,
        Self::HostKeys,
        Self::MachineId,
        Self::CloudInit,
        Self::DhcpLeases,
        Self::RandomSeed,
        Self::NetworkNames,
        Self::PackageCaches,
        Self::AptLists,
        Self::Histories,
        Self::AnsibleRemains,
        Self::SsmAgent,
        Self::TemporaryFiles,
        Self::Logs,
    ];

    /// As it is written in messages and recipes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizedKeys => "authorized-keys",
            Self::HostKeys => "host-keys",
            Self::MachineId => "machine-id",
            Self::CloudInit => "cloud-init",
            Self::DhcpLeases => "dhcp-leases",
            Self::RandomSeed => "random-seed",
            Self::NetworkNames => "network-names",
            Self::PackageCaches => "package-caches",
            Self::AptLists => "apt-lists",
            Self::Histories => "histories",
            Self::AnsibleRemains => "ansible-remains",
            Self::SsmAgent => "ssm-agent",
            Self::TemporaryFiles => "temporary-files",
            Self::Logs => "logs",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct SealOptions {
    /// Public parts of keys to be forgotten: [`forno_link::Identity::public_blob`].
    pub key_blobs: Vec<String>,
    /// Not forgotten.
    pub keep: Vec<SealItem>,
    /// Texts that give a secret away when they stand in a file: every secret in
    /// all forms that are to be found. Of several lines the longest is looked for.
    pub secrets: Vec<SecretString>,
    /// Places where the scan may find something.
    pub allowed: Vec<Allowed>,
    /// What comes into the image besides the root.
    pub volumes: Vec<SealVolume>,
}

/// A volume besides the root, whose files are searched too. Where it is mounted nowhere,
/// what is found has a path that begins with the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealVolume {
    /// Where EC2 attached it, such as `/dev/sdf`.
    pub device: String,
    /// Its id without the dash, which is what a machine reads as its serial number.
    pub serial: String,
}

/// A place where a find is no fault, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// An absolute path; `*` and `?` stand for anything, also for `/`.
    pub path: String,
    pub reason: String,
}

/// Something that must not be in an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    /// Such as `a secret of this bake`, `a private key`.
    pub kind: String,
}

/// A file that could not be searched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsearched {
    pub path: String,
    /// Such as `larger than 128 MiB`.
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub struct SealReport {
    /// What was forgotten.
    pub forgotten: Vec<SealItem>,
    pub warnings: Vec<String>,
    /// Found where it may be, with the reason.
    pub allowed: Vec<(Finding, String)>,
    pub unsearched: Vec<Unsearched>,
}
