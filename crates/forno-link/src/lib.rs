//! How a machine is reached.
//!
//! A [`Link`] runs commands on one machine and moves files to and from it. There
//! are two kinds: SSH ([`ssh::connect`]), by TCP or through a session of Systems
//! Manager, and Systems Manager's Run Command ([`ssm::connect`]). Neither of the
//! latter needs an open port. Nothing above this crate names a protocol.
//!
//! What a link promises:
//!
//! * the machine is the one that was meant: its host key is pinned, never learnt,
//!   or AWS itself reaches it by its instance id;
//! * how a command ended is told apart: exit status, signal, lost connection,
//!   cancelled, out of time ([`Exit`], [`ErrorKind`]);
//! * a command that is cancelled or runs out of time leaves no process behind;
//! * memory is bounded, however much a command writes.

pub mod agent;
pub mod error;
pub mod identity;
pub mod keyring;
pub mod link;
pub mod quote;
pub mod shell;
pub mod ssh;
pub mod ssm;
pub mod transfer;

mod attempts;
mod remote;
mod terminal;
#[cfg(feature = "testing")]
pub mod testing;

pub use agent::AgentSocket;
pub use attempts::{Attempt, Watch};
pub use error::{Error, ErrorKind};
pub use identity::{HostKey, HostKeyPair, Identity};
pub use link::{Captured, Command, Exit, Link, Output, Sink, SshAccess, Stdin, capture};
pub use remote::TERMINATE;
pub use shell::{ShellOptions, by_lines, is_interactive, shell, shell_in};
pub use ssh::{Algorithms, Auth, Dial, ProxyCommand, SshLink, SshTarget, Timing, connect};
pub use transfer::{FileTarget, Progress, TreeTarget};
