//! Running scripts inside a machine, as an agent of its own would.
//!
//! A script is put where the guest's memory is and never on its disk, and runs
//! as root in a session of its own, with nothing to read, until it ends, is
//! killed, or the machine goes down. A virtual machine has nobody inside who
//! could be asked to.

use std::sync::Arc;

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::guardian::Guardian;
use crate::{Error, ErrorKind, container, stub};

/// What is to be run.
#[derive(Clone, PartialEq, Eq)]
pub struct Script {
    /// Of letters, digits and hyphens, and no other script's.
    pub name: String,
    /// Executed by `sh -c` of its path: a first line that begins with `#!` counts.
    pub text: String,
    /// Where it runs; none: `/usr/bin`, as an agent that systemd started.
    pub folder: Option<String>,
    /// Its environment besides `PATH` and `LANG`.
    pub env: Vec<(String, String)>,
}

// Its text is nobody's business.
impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A script that was started. Dropping it kills the script.
#[derive(Debug)]
pub struct Running {
    /// What it writes, to be read to the end: whoever holds the other end
    /// (background processes too) keeps it open.
    pub stdout: Option<pipe::Receiver>,
    /// The same for its errors.
    pub stderr: Option<pipe::Receiver>,
    ended: watch::Receiver<Option<Ended>>,
    kill: CancellationToken,
    _drop: DropGuard,
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// With its machine, or nobody knows how.
    Lost,
}

impl Running {
    pub(crate) fn new(
        streams: (pipe::Receiver, pipe::Receiver),
        ended: watch::Receiver<Option<Ended>>,
        kill: CancellationToken,
    ) -> Self {
        Self {
            stdout: Some(streams.0),
            stderr: Some(streams.1),
            ended,
            _drop: kill.clone().drop_guard(),
            kill,
        }
    }

    /// Waits until the script itself has ended; what it left in the background
    /// may go on.
    pub async fn ended(&mut self) -> Ended {
        match self.ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(Ended::Lost),
            Err(_) => Ended::Lost,
        }
    }

    /// Kills it with all of its session. [`Running::ended`] tells when it is
    /// gone.
    pub fn kill(&self) {
        self.kill.cancel();
    }
}

/// The way into a boot of a machine; gone when the boot is over.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    Container {
        guardian: Arc<Guardian>,
        /// The process whose child is the guest's first one.
        guest: u32,
        /// Where passages for the streams are made.
        dir: std::path::PathBuf,
    },
    Stub(stub::Inside),
}

/// Starts a script.
pub(crate) async fn run(inside: Inside, script: Script) -> Result<Running, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if script.name.is_empty() || script.name.len() > 64 || !script.name.chars().all(plain) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{:?} cannot be a script's name", script.name),
        ));
    }
    match inside {
        Inside::Container {
            guardian,
            guest,
            dir,
        } => container::run(guardian, guest, &dir, script).await,
        Inside::Stub(inside) => stub::run(inside, script),
    }
}
