//! One host per endpoint process: the guardian, the containers' shared network
//! and the kind of machines that it starts.

use std::path::PathBuf;

use crate::{Error, Kind, Machine, MachineSpec};

/// What a host needs to know.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// A folder of its own for sockets, records and namespaces. Only one living
    /// host may have it; what a lost one left there is cleaned at the start.
    pub run_dir: PathBuf,
    /// Remembers what was proven about this computer (whether KVM works).
    pub cache_dir: PathBuf,
    /// The kind of its machines; none: what [`crate::doctor::examine`] picks.
    pub kind: Option<Kind>,
    /// The embedding binary, whose `main` calls [`crate::helper_main`].
    /// None: the running executable.
    pub helper_exe: Option<PathBuf>,
}

/// Starts machines and answers for their end.
#[derive(Debug)]
pub struct Host;

impl Host {
    /// Starts the guardian and cleans what a lost predecessor left.
    pub async fn start(config: HostConfig) -> Result<Self, Error> {
        let _ = config;
        todo!()
    }

    /// The kind of its machines.
    pub fn kind(&self) -> Kind {
        todo!()
    }

    /// Starts a machine. Returns when the guest runs (not when it has booted).
    /// Launches may run in parallel.
    pub async fn launch(&self, spec: MachineSpec) -> Result<Machine, Error> {
        let _ = spec;
        todo!()
    }

    /// Kills all machines and ends the guardian. Returns when nothing is left.
    pub async fn shutdown(self) {
        todo!()
    }
}
