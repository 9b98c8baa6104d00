//! The hidden modes of the embedding binary.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs a hidden mode when `args` (the whole of `std::env::args_os()`) asks for
/// one, else returns none at once. To be called first thing in `main`, before
/// any runtime or thread exists.
pub fn helper_main(args: &[OsString]) -> Option<ExitCode> {
    let mode = args.get(1)?.to_str()?;
    if !mode.starts_with("__machine-") {
        return None;
    }
    todo!()
}
