//! What owner and guardian say to each other: one JSON value per line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A request with the number under which it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub id: u64,
    pub request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Start a process that lives on; its end is told by [`Message::Exited`].
    Spawn {
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: PathBuf,
        /// Standard output and error are appended here.
        output: PathBuf,
    },
    /// Start a process that lives on, as the first does, with its streams apart
    /// and into named pipes that somebody reads already.
    Start {
        argv: Vec<String>,
        stdout: PathBuf,
        stderr: PathBuf,
    },
    /// End a process with all of its descendants and their sessions.
    KillAll { pid: u32 },
    /// Run a program to its end.
    Run { argv: Vec<String>, input: String },
    /// Signal a process that was spawned.
    Signal { pid: u32, signal: SignalName },
    /// The first process of the namespace that a spawned process made.
    Leader { pid: u32 },
}

/// The signals that are ever sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SignalName {
    Int,
    Term,
    Kill,
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    Reply { id: u64, reply: Reply },
    Exited { pid: u32, exit: Exit },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Spawned {
        pid: u32,
    },
    Ran {
        exit: Exit,
        stdout: String,
        stderr: String,
    },
    Leader {
        pid: Option<u32>,
    },
    Done,
    Failed {
        what: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    pub(crate) fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
