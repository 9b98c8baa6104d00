//! Stubs: an SSH server in this process instead of a machine.
//!
//! For tests of what stands above machines, hundreds at once: a stub has a host
//! key, an authorised key and user data as any machine has, from the same
//! metadata, and runs commands, but in a scratch folder of this computer. It is
//! no sandbox; commands run with the rights of this process. `sudo` and the
//! commands that end a machine are small scripts found first on its PATH, so
//! that a script written for a machine does what it says within the stub.

mod boot;
mod command;
mod metadata;
mod reaper;
mod scratch;
mod script;
mod server;

pub(crate) use boot::launch;
pub(crate) use script::{Inside, run};
