//! The handle to one machine, whatever its kind.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;

use crate::{Error, Kind, OffReason, Status};

/// A machine. Dropping the handle does not stop it; its host does, or
/// [`Machine::kill`].
#[derive(Debug, Clone)]
pub struct Machine;

impl Machine {
    /// The id from its specification.
    pub fn id(&self) -> &str {
        todo!()
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        todo!()
    }

    /// Where its SSH server answers: port 22 when this process may bind it,
    /// otherwise a free high port. Fixed for the machine's life.
    pub fn ssh_address(&self) -> SocketAddr {
        todo!()
    }

    /// What its console has shown since the launch (the last 4 MiB at most).
    pub fn console(&self) -> Vec<u8> {
        todo!()
    }

    /// Its life, as a value to watch.
    pub fn status(&self) -> watch::Receiver<Status> {
        todo!()
    }

    /// Waits until the console shows that the guest is up (its login prompt),
    /// for the present boot. Returns early with `false` when the machine is off.
    /// A hint, free of load on the guest; some guests never show it.
    pub async fn booted(&self) -> bool {
        todo!()
    }

    /// Asks the guest to power off, waits until it is off and returns why it
    /// ended. After `patience` it is killed.
    pub async fn power_off(&self, patience: Duration) -> OffReason {
        let _ = patience;
        todo!()
    }

    /// Ends it now; returns when it is off.
    pub async fn kill(&self) -> OffReason {
        todo!()
    }

    /// Asks the guest to restart and returns when it was asked.
    pub async fn reboot(&self) -> Result<(), Error> {
        todo!()
    }

    /// Waits until it is off.
    pub async fn off(&self) -> OffReason {
        todo!()
    }
}
