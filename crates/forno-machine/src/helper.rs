//! The hidden modes of the embedding binary.
//!
//! The guardian and the relays of the metadata service must be processes of
//! their own, and a library has no binary. So the embedding one lends its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::{dial, guardian, relay};

/// The guardian.
pub(crate) const GUARDIAN: &str = "__machine-guardian";
/// Answers for the metadata service inside a container's network.
pub(crate) const RELAY_LISTEN: &str = "__machine-relay-listen";
/// Connects to ports inside a container.
pub(crate) const DIAL_LISTEN: &str = "__machine-dial-listen";
/// Carries one connection of a virtual machine to the metadata service.
pub(crate) const RELAY_PIPE: &str = "__machine-relay-pipe";

/// Runs a hidden mode when `args` (the whole of `std::env::args_os()`) asks for
/// one, else returns none at once. To be called first thing in `main`, before
/// any runtime or thread exists.
pub fn helper_main(args: &[OsString]) -> Option<ExitCode> {
    let mode = args.get(1)?.to_str()?;
    let rest = args[2..].iter().map(PathBuf::from).collect::<Vec<_>>();
    match mode {
        GUARDIAN => Some(guardian::serve(&rest)),
        RELAY_LISTEN => Some(relay::listen(&rest)),
        DIAL_LISTEN => Some(dial::listen(&rest)),
        RELAY_PIPE => Some(relay::pipe(&rest)),
        _ if mode.starts_with("__machine-") => Some(ExitCode::from(2)),
        _ => None,
    }
}
