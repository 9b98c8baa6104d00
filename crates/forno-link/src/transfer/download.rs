//! From the machine.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::pipe::{self, ChunkReader, Said};
use super::{CHUNK, Progress, run};
use crate::link::Command;
use crate::{Error, ErrorKind, Link};

/// A line with checksum, size and mode, then the content.
const GET_FILE: &str = r#"set -eu
if [ ! -f "$1" ]; then
  if [ -e "$1" ]; then echo "$1 is not a file" >&2; else echo "$1 does not exist" >&2; fi
  exit 1
fi
sum=$(sha256sum <"$1")
printf '%s %s\n' "${sum%% *}" "$(stat -L -c '%s %a' -- "$1")"
exec cat <"$1"
"#;

const GET_TREE: &str = r#"set -eu
if [ ! -d "$1" ]; then echo "$1 is not a folder" >&2; exit 1; fi
exec tar -c --sort=name -f - -C "$1" .
"#;

/// A file of the machine to a local one, atomically.
pub async fn download_file(
    link: &dyn Link,
    from: &str,
    to: &Path,
    sudo: bool,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let said = Said::default();
    let (sink, reader) = pipe::reader(said.clone(), Progress::none());
    let target = to.to_owned();
    let writing = tokio::task::spawn_blocking(move || receive(reader, &target, &progress));
    let command = Command::script(GET_FILE, [from]).sudo(sudo);
    let what = || format!("read {from}");
    let ran = run(link, command, Box::new(sink), &said, what, cancel).await;
    let written = writing.await.unwrap_or_else(|e| Err(io::Error::other(e)));
    let received = settle(link, ran, written, to)?;
    if received.sum != received.announced {
        return Err(link.error(ErrorKind::Damaged {
            what: from.to_owned(),
            expected: received.announced,
            found: received.sum,
        }));
    }
    received
        .file
        .persist(to)
        .map(drop)
        .map_err(|error| local(link, to, error.error))
}

/// The content of a folder of the machine into a local one.
pub async fn download_tree(
    link: &dyn Link,
    from: &str,
    to: &Path,
    sudo: bool,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let said = Said::default();
    let (sink, reader) = pipe::reader(said.clone(), progress);
    let target = to.to_owned();
    let writing = tokio::task::spawn_blocking(move || unpack(reader, &target));
    let command = Command::script(GET_TREE, [from]).sudo(sudo);
    let what = || format!("read {from}");
    let ran = run(link, command, Box::new(sink), &said, what, cancel).await;
    let written = writing.await.unwrap_or_else(|e| Err(io::Error::other(e)));
    settle(link, ran, written, to)
}

/// Which of the two failures is the cause: a writer that fails makes the command
/// fail by a broken pipe, a command that fails leaves the writer short.
fn settle<T>(
    link: &dyn Link,
    ran: Result<(), Error>,
    written: io::Result<T>,
    to: &Path,
) -> Result<T, Error> {
    match (ran, written) {
        (Ok(()), Ok(value)) => Ok(value),
        (Ok(()), Err(error)) => Err(local(link, to, error)),
        (Err(ran), Err(error)) if matches!(&ran.kind, ErrorKind::Local { error, .. } if error.kind() == io::ErrorKind::BrokenPipe) => {
            Err(local(link, to, error))
        }
        (Err(ran), _) => Err(ran),
    }
}

fn local(link: &dyn Link, to: &Path, error: io::Error) -> Error {
    link.error(ErrorKind::Local {
        what: format!("cannot write {}", to.display()),
        error,
    })
}

struct Received {
    file: tempfile::NamedTempFile,
    announced: String,
    sum: String,
}

fn receive(reader: ChunkReader, to: &Path, progress: &Progress) -> io::Result<Received> {
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    let mut line = String::new();
    reader.by_ref().take(200).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let announced = words.next().unwrap_or_default().to_owned();
    let size: u64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
    let mode = words
        .next()
        .and_then(|w| u32::from_str_radix(w, 8).ok())
        .ok_or_else(|| io::Error::other("the machine announced no file"))?;
    let dir = match to.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    fs_err::create_dir_all(&dir)?;
    let mut file = tempfile::Builder::new().prefix(".forno").tempfile_in(dir)?;
    let mut hash = Sha256::new();
    let mut done = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        hash.update(chunk);
        file.write_all(chunk)?;
        let count = chunk.len();
        done += count as u64;
        progress.tell(done, Some(size));
        reader.consume(count);
    }
    let permissions = std::fs::Permissions::from_mode(mode & 0o777);
    file.as_file().set_permissions(permissions)?;
    Ok(Received {
        file,
        announced,
        sum: hex::encode(hash.finalize()),
    })
}

fn unpack(reader: ChunkReader, to: &Path) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    if reader.fill_buf()?.is_empty() {
        // Not even an empty archive: the command failed and says why.
        return Ok(());
    }
    fs_err::create_dir_all(to)?;
    let mut archive = tar::Archive::new(&mut reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    archive.set_mask(0o7000);
    archive.set_overwrite(true);
    archive.unpack(to)?;
    // Padding after the archive's end; unread, it would look like a failure.
    io::copy(&mut reader, &mut io::sink()).map(drop)
}
