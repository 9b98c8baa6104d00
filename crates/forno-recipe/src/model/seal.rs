//! `[seal]`: what the builder forgets before its disk becomes an image, and
//! which finds of the search for secrets are no fault.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct SealTable {
    /// What is not forgotten, by name. Default: everything is forgotten.
    pub(crate) keep: Vec<SealItem>,
    /// Where the search for secrets may find something. Default: nowhere.
    pub(crate) allow: Vec<Option<SealAllow>>,
}

/// Something that a builder forgets.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SealItem {
    /// forno's own key in every `authorized_keys`; it opens nothing after the bake.
    AuthorizedKeys,
    /// The SSH host keys. Kept, all machines of the image share them.
    HostKeys,
    /// `/etc/machine-id`. Kept, all machines of the image count as one.
    MachineId,
    /// State, user data and logs of cloud-init. Kept, the user data is found as a secret: it holds a host key.
    CloudInit,
    /// DHCP leases, and the identity that a DHCP client keeps.
    DhcpLeases,
    /// The saved random seed.
    RandomSeed,
    /// Names and settings of the builder's own network card.
    NetworkNames,
    /// Downloaded packages of apt, dnf and pip.
    PackageCaches,
    /// The indexes of apt. Kept, a machine can install without `apt-get update`, as long as they are fresh.
    AptLists,
    /// Histories of shells and other programs.
    Histories,
    /// What Ansible leaves in home folders.
    AnsibleRemains,
    /// The SSM agent's registration, and the scripts and outputs of what it was told to run.
    SsmAgent,
    /// What lies in `/tmp` and `/var/tmp`.
    TemporaryFiles,
    /// The journal, and what is in the files of `/var/log`.
    Logs,
}

/// A place where the search for secrets may find something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SealAllow {
    /// An absolute path on the machine; `*` and `?` stand for anything, also for `/`.
    pub path: String,
    /// Why it is no fault. Shown with every find there.
    pub reason: String,
}
