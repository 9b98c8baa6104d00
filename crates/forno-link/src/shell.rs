//! A person at the machine.

use tokio_util::sync::CancellationToken;

use crate::ssh::SshLink;
use crate::{Error, Exit};

/// Gives the local terminal to a login shell (or to `command`) on the machine
/// until that ends. Where standard input or output is no terminal, no pseudo
/// terminal is asked for and bytes pass as they are.
pub async fn shell(
    link: &SshLink,
    command: Option<&str>,
    cancel: &CancellationToken,
) -> Result<Exit, Error> {
    let _ = (link, command, cancel);
    todo!()
}
