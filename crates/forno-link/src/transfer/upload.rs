//! To the machine.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::pipe::{self, Listen, Said};
use super::tree::Tree;
use super::{CHUNK, FAST, FileTarget, Progress, TreeTarget, run};
use crate::link::{Command, Stdin};
use crate::{Error, ErrorKind, Link};

/// `$1` path, `$2` checksum, `$3` mode, `$4` owner, `$5` group, `$6` whether to
/// make the folders, `$7` size. What is large is hashed while it is written.
const PUT_FILE: &str = r#"set -eu
to=$1
case $to in */*) dir=${to%/*}; dir=${dir:-/} ;; *) dir=. ;; esac
[ "$6" = no ] || mkdir -p -- "$dir"
if [ -d "$to" ]; then echo "$to is a folder" >&2; exit 1; fi
umask 077
tmp=$(mktemp -- "$dir/.forno.XXXXXXXX")
trap 'rm -f -- "$tmp"' EXIT
trap 'exit 143' HUP INT TERM
if fast "$7"; then
  said=$({ { tee --output-error=exit -- "$tmp" || echo failed >&3; } | openssl dgst -sha256 -r; } 3>&1)
  case $said in *failed*) exit 1 ;; esac
else
  cat >"$tmp"
  said=$(sha256sum <"$tmp")
fi
sum=${said%% *}
if [ "$sum" != "$2" ]; then echo "forno-damaged $sum" >&2; exit 1; fi
if [ -n "$4$5" ]; then chown -- "$4${5:+:$5}" "$tmp"; fi
chmod -- "$3" "$tmp"
mv -f -T -- "$tmp" "$to"
"#;

/// `$1` path, `$2` owner, `$3` group, `$4` mode of the folder itself. Folders
/// that are there already keep their owner and mode, and links to folders stay.
const PUT_TREE: &str = r#"set -eu
to=$1 own=--no-same-owner
if [ -n "$2$3" ]; then own=--same-owner; fi
case $2 in '' | *[!0-9]*) [ -z "$2" ] || id -u -- "$2" >/dev/null ;; esac
case $3 in '' | *[!0-9]*)
  [ -z "$3" ] || getent group -- "$3" >/dev/null || { echo "no group is called $3" >&2; exit 1; } ;;
esac
if [ ! -d "$to" ]; then
  mkdir -p -- "$to"
  if [ -n "$2$3" ]; then chown -- "$2${3:+:$3}" "$to"; fi
  if [ -n "$4" ]; then chmod -- "$4" "$to"; fi
fi
exec tar -x -p -m -f - -C "$to" $own --no-overwrite-dir --keep-directory-symlink
"#;

/// A local file to a file, atomically.
pub async fn upload_file(
    link: &dyn Link,
    from: &Path,
    to: &FileTarget,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let failed = |error| {
        link.error(ErrorKind::Local {
            what: format!("cannot send {}", from.display()),
            error,
        })
    };
    let path = from.to_owned();
    let (sum, size, mode) = blocking(move || examine(&path)).await.map_err(failed)?;
    let (mut writer, chunks) = pipe::writer(progress, size);
    let path = from.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let result = fs_err::File::open(path).and_then(|mut file| copy(&mut file, &mut writer));
        writer.finish(result);
    });
    let mode = to.mode.unwrap_or(mode);
    let stdin = Stdin::Stream(chunks);
    let result = put(link, stdin, size, &sum, mode, to, cancel).await;
    let _ = reading.await;
    result
}

/// Bytes to a file, atomically.
pub async fn upload_bytes(
    link: &dyn Link,
    content: Bytes,
    to: &FileTarget,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let sum = hex::encode(Sha256::digest(&content));
    let size = content.len() as u64;
    let mode = to.mode.unwrap_or(0o644);
    put(link, Stdin::Bytes(content), size, &sum, mode, to, cancel).await
}

async fn put(
    link: &dyn Link,
    stdin: Stdin,
    size: u64,
    sum: &str,
    mode: u32,
    to: &FileTarget,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let mode = format!("{mode:04o}");
    let command = Command::script(
        &format!("{FAST}{PUT_FILE}"),
        [
            to.path.as_str(),
            sum,
            &mode,
            to.owner.as_deref().unwrap_or(""),
            to.group.as_deref().unwrap_or(""),
            if to.parents { "yes" } else { "no" },
            &size.to_string(),
        ],
    )
    .sudo(to.sudo)
    .stdin(stdin)
    .public_stdin(to.public);
    let said = Said::default();
    let sink = Box::new(Listen(said.clone()));
    let what = || format!("write {}", to.path);
    let result = run(link, command, sink, &said, what, cancel).await;
    if let Err(Error {
        kind: ErrorKind::Remote { detail, .. },
        ..
    }) = &result
        && let Some(found) = detail.strip_prefix("forno-damaged ")
    {
        return Err(link.error(ErrorKind::Damaged {
            what: to.path.clone(),
            expected: sum.to_owned(),
            found: found.to_owned(),
        }));
    }
    result
}

/// The content of a local folder into a folder.
pub async fn upload_tree(
    link: &dyn Link,
    from: &Path,
    to: &TreeTarget,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let (root, ignore_file) = (from.to_owned(), to.ignore_file.clone());
    let tree = blocking(move || Tree::walk(&root, ignore_file.as_deref()))
        .await
        .map_err(|error| {
            link.error(ErrorKind::Local {
                what: format!("cannot send {}", from.display()),
                error,
            })
        })?;
    let (mut writer, chunks) = pipe::writer(progress, tree.size());
    let target = to.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let result = tree.write(&mut writer, &target);
        writer.finish(result);
    });
    let mode = to.folder_mode.map(|mode| format!("{mode:04o}"));
    let command = Command::script(
        PUT_TREE,
        [
            to.path.as_str(),
            to.owner.as_deref().unwrap_or(""),
            to.group.as_deref().unwrap_or(""),
            mode.as_deref().unwrap_or(""),
        ],
    )
    .sudo(to.sudo)
    .stdin(Stdin::Stream(chunks))
    .public_stdin(to.public);
    let said = Said::default();
    let sink = Box::new(Listen(said.clone()));
    let what = || format!("send {} to {}", from.display(), to.path);
    let result = run(link, command, sink, &said, what, cancel).await;
    let _ = reading.await;
    result
}

/// Checksum, size and mode. The file is read twice, so that the machine can
/// refuse what was changed on the way, or between the two.
fn examine(path: &Path) -> io::Result<(String, u64, u32)> {
    let mut file = fs_err::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut hash = Hasher(Sha256::new());
    let size = copy(&mut file, &mut hash).map(|()| metadata.len())?;
    let sum = hex::encode(hash.0.finalize());
    Ok((sum, size, metadata.permissions().mode() & 0o7777))
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
