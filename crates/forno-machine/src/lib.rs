//! Real Linux machines from raw disks.
//!
//! A caller has a disk (a raw sparse image with one ext4 root) and wants a
//! machine that boots it, answers SSH on an address of its own, asks its
//! metadata at 169.254.169.254 and goes away without a trace. This crate gives
//! three kinds of such machines behind one handle: a container booted by
//! systemd-nspawn over the loop-mounted disk, a virtual machine under QEMU, and
//! a stub, which is an SSH server in this process that runs commands in a
//! scratch folder.
//!
//! It knows disks and machines and no cloud: what the metadata says, what a
//! machine costs and when it may start is the caller's business.
//!
//! The embedding binary must call [`helper_main`] first thing in `main`: the
//! guardian that outlives its owner and the relays of the metadata service are
//! hidden modes of that same binary.

mod cgroup;
mod console;
mod container;
mod dial;
mod error;
mod guardian;
mod helper;
mod host;
mod inside;
mod machine;
mod net;
mod relay;
mod run;
mod spec;
mod stub;
mod vm;

pub mod disk;
pub mod doctor;
pub mod source;

pub use dial::PortStream;
pub use disk::{CopyProgress, copy_disk, data_extents, grow_disk};
pub use error::{Error, ErrorKind};
pub use helper::helper_main;
pub use host::{Host, HostConfig};
pub use inside::{Ended, Running, Script};
pub use machine::Machine;
pub use spec::{DataDisk, Kind, MachineSpec, OffReason, Status, mac_address};
