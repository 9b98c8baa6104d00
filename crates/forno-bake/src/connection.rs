//! How to reach the machine of a bake from another process: for `forno shell` and
//! `forno tunnel`.
//!
//! Nothing secret: a key is with the living bake, which signs through its agent
//! socket, and for what Systems Manager does each process has credentials of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::BucketPlace;

/// `connection.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub instance_id: String,
    pub region: String,
    /// Of the services, where that is not AWS's own.
    pub endpoint_url: Option<String>,
    pub user: String,
    #[serde(flatten)]
    pub way: ConnectionWay,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "kebab-case")]
pub enum ConnectionWay {
    /// By an SSH client; through a session of Systems Manager that the living
    /// bake has opened, the address is one of this computer.
    Ssh(SshWay),
    /// By Run Command, with what files go through.
    Ssm { bucket: Option<BucketPlace> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshWay {
    pub address: String,
    pub port: u16,
    /// The pinned host key, as a line of OpenSSH without a host name.
    pub host_key: String,
    /// Signs with the key of the bake; gone with its process.
    pub agent_socket: Option<PathBuf>,
    /// What OpenSSH's clients are told besides, each as `NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl SshWay {
    /// The line for a `known_hosts` file.
    pub fn known_hosts(&self) -> String {
        if self.port == 22 {
            format!("{} {}\n", self.address, self.host_key)
        } else {
            format!("[{}]:{} {}\n", self.address, self.port, self.host_key)
        }
    }
}
