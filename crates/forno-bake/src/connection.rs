//! How to reach the machine of a bake from another process: for `forno shell`.
//!
//! Nothing secret: the key is with the living bake, which signs through its
//! agent socket. A bake that keeps its machine after its own end has no agent;
//! then the key that was let in is one that the person has.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `connection.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub instance_id: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// The pinned host key, as a line of OpenSSH without a host name.
    pub host_key: String,
    /// Signs with the key of the bake; gone with its process.
    pub agent_socket: Option<PathBuf>,
}

impl Connection {
    /// The line for a `known_hosts` file.
    pub fn known_hosts(&self) -> String {
        if self.port == 22 {
            format!("{} {}\n", self.address, self.host_key)
        } else {
            format!("[{}]:{} {}\n", self.address, self.port, self.host_key)
        }
    }
}
