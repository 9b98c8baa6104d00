//! From the machine.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::pipe::{self, ChunkReader, Said};
use super::{CHUNK, FAST, Progress, run};
use crate::link::Command;
use crate::{Error, ErrorKind, Link};

/// A line with size and mode, the content, and a line with the checksum of what
/// was sent; a wrong one when not all could be read.
const GET_FILE: &str = r#"set -eu
if [ ! -f "$1" ]; then
  if [ -e "$1" ]; then echo "$1 is not a file" >&2; else echo "$1 does not exist" >&2; fi
  exit 1
fi
facts=$(stat -L -c '%s %a' -- "$1")
printf '%s\n' "$facts"
hash=sha256sum
if fast "${facts% *}"; then hash='openssl dgst -sha256 -r'; fi
exec 3>&1
sum=$({ tee /dev/fd/4 <"$1" >&3 || echo failed >&4; } 4>&1 | $hash)
printf '%s\n' "${sum%% *}"
"#;

/// SHA-256 in hexadecimal, and the end of the line.
const TRAILER: usize = 65;

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
    let command = Command::script(&format!("{FAST}{GET_FILE}"), [from]).sudo(sudo);
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
    let (size, mode) = line
        .trim_end()
        .split_once(' ')
        .and_then(|(size, mode)| Some((size.parse::<u64>().ok()?, mode)))
        .and_then(|(size, mode)| Some((size, u32::from_str_radix(mode, 8).ok()?)))
        .ok_or_else(|| io::Error::other("the machine announced no file"))?;
    let dir = match to.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    fs_err::create_dir_all(&dir)?;
    let mut file = tempfile::Builder::new().prefix(".forno").tempfile_in(dir)?;
    let mut hash = Sha256::new();
    let mut done = 0;
    let mut keep = |content: &[u8]| {
        hash.update(content);
        done += content.len() as u64;
        progress.tell(done, Some(size));
        file.write_all(content)
    };
    // The last line is known only when the end has come.
    let mut tail = Vec::with_capacity(2 * TRAILER);
    loop {
        let chunk = reader.fill_buf()?;
        let count = chunk.len();
        if count == 0 {
            break;
        }
        if count >= TRAILER {
            keep(&tail)?;
            tail.clear();
            let (content, end) = chunk.split_at(count - TRAILER);
            keep(content)?;
            tail.extend_from_slice(end);
        } else {
            tail.extend_from_slice(chunk);
            let surplus = tail.len().saturating_sub(TRAILER);
            keep(&tail[..surplus])?;
            tail.drain(..surplus);
        }
        reader.consume(count);
    }
    let announced = String::from_utf8_lossy(&tail).trim_end().to_owned();
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use forno_events::Stream;
    use proptest::prelude::*;

    use super::*;
    use crate::link::Sink;

    /// What is kept of a stream that arrives in pieces of these sizes.
    async fn received(stream: &[u8], pieces: &[usize], to: &Path) -> io::Result<Received> {
        let (mut sink, reader) = pipe::reader(Said::default(), Progress::none());
        let target = to.to_owned();
        let writing =
            tokio::task::spawn_blocking(move || receive(reader, &target, &Progress::none()));
        let mut rest = stream;
        let mut sizes = pieces.iter().cycle();
        while !rest.is_empty() {
            let count = rest.len().min(*sizes.next().expect("a size"));
            let (piece, after) = rest.split_at(count);
            let piece = Bytes::copy_from_slice(piece);
            if sink.write(Stream::Stdout, piece).await.is_err() {
                break;
            }
            rest = after;
        }
        drop(sink);
        writing.await.expect("the writer")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_is_what_was_sent_however_it_arrives(
            content in proptest::collection::vec(any::<u8>(), 0..400),
            pieces in proptest::collection::vec(1_usize..200, 1..5),
            size in 0_u64..500,
        ) {
            let dir = tempfile::tempdir()?;
            let to = dir.path().join("file");
            let sum = hex::encode(Sha256::digest(&content));
            // The size is what the file had before it was read.
            let mut stream = format!("{size} 640\n").into_bytes();
            stream.extend_from_slice(&content);
            stream.extend_from_slice(format!("{sum}\n").as_bytes());
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let got = runtime.block_on(received(&stream, &pieces, &to))?;
            prop_assert_eq!(&got.announced, &sum);
            prop_assert_eq!(&got.sum, &sum);
            prop_assert_eq!(fs_err::read(got.file.path())?, content);
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_has_another_sum() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file");
        let sum = hex::encode(Sha256::digest(b"all of it"));
        let whole = format!("9 640\nall of it{sum}\n");
        for end in 6..whole.len() - 1 {
            let got = received(&whole.as_bytes()[..end], &[7], &to).await.unwrap();
            assert_ne!(got.announced, got.sum, "{end}");
        }
        assert!(received(b"", &[7], &to).await.is_err());
        assert!(received(b"no such file\n", &[7], &to).await.is_err());
    }
}
