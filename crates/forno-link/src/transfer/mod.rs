//! Files and folders, to the machine and back.
//!
//! A folder travels as one tar stream into the machine's own `tar`, because
//! every other way pays round trips per file. A file travels into a temporary
//! one beside its place and is moved there when its checksum is right.

mod download;
mod pipe;
mod target;
mod tree;
mod upload;

pub use download::{download_file, download_tree};
pub use target::{FileTarget, Progress, TreeTarget};
pub use upload::{upload_bytes, upload_file, upload_tree};

use tokio_util::sync::CancellationToken;

use crate::link::{Command, Exit, Link, Sink};
use crate::{Error, ErrorKind};

/// What russh turns into packets with the least work.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Whether what is so large is hashed while it moves, by a program that uses the
/// processor's own instructions: several times as fast as `sha256sum`, but not
/// on every machine.
const FAST: &str = r#"fast() {
  [ "$1" -ge 1048576 ] && command -v openssl >/dev/null && tee --version >/dev/null 2>&1
}
"#;

/// A copy on which nothing moves for this long is dead.
const IDLE: std::time::Duration = std::time::Duration::from_mins(2);

/// Runs one of our own commands, of which every failure is an error.
async fn run(
    link: &dyn Link,
    command: Command,
    sink: Box<dyn Sink>,
    said: &pipe::Said,
    what: impl Fn() -> String,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let exit = link
        .exec(command.idle_timeout(IDLE), sink, cancel)
        .await
        .map_err(|mut error| {
            if let ErrorKind::Local { what: place, .. } = &mut error.kind {
                *place = format!("cannot {}", what());
            }
            error
        })?;
    if exit == Exit::Code(0) {
        return Ok(());
    }
    Err(link.error(ErrorKind::Remote {
        what: what(),
        detail: said.last().unwrap_or_else(|| exit.to_string()),
    }))
}
