//! The process that outlives its owner, and the owner's line to it.
//!
//! Everything a machine consists of outside its disk (QEMU, systemd-nspawn,
//! slirp4netns, mounts, loop devices, network namespaces) is started by one
//! helper process, the guardian, on the owner's request. The guardian holds the
//! other end of a socket; when that end closes, for whatever reason, it ends
//! everything and then itself.
//!
//! As root the guardian is the first process of a PID namespace and lives in a
//! mount namespace of its own, so the kernel does the same work should the
//! guardian itself be killed: the namespaces fall, and with them every process,
//! mount, network namespace and (being auto-clearing) loop device. There is no
//! moment in which something exists that nobody answers for, and nothing has to
//! be remembered on disk but who the guardian is. Without root there are only
//! QEMU processes, which get a parent-death signal instead.

mod client;
mod predecessor;
mod protocol;
mod server;

pub(crate) use client::{Guardian, Process, Spawn};
pub(crate) use protocol::{Exit, SignalName};
pub(crate) use server::serve;
