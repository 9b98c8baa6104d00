//! Copies of sparse disks that stay sparse.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind};

/// Large enough for speed, small enough to hear a cancellation.
const CHUNK: usize = 4 << 20;
/// Runs of zeroes of this size become holes.
const BLOCK: usize = 4096;

/// How far a copy is, in bytes of data (holes do not count).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes copied.
    pub done: u64,
    /// Bytes to copy.
    pub total: u64,
}

/// Copies a disk: by sharing extents where the file system can, else data by
/// data, keeping the holes. `to` appears whole (temporary name, then rename) or
/// not at all. On cancellation the partial copy is removed.
pub async fn copy_disk(
    from: &Path,
    to: &Path,
    progress: impl Fn(CopyProgress) + Send + 'static,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let (from, to, cancel) = (from.to_owned(), to.to_owned(), cancel.clone());
    tokio::task::spawn_blocking(move || copy_blocking(&from, &to, &progress, &cancel))
        .await
        .map_err(|e| Error::new(ErrorKind::Io, format!("the copy of a disk broke off: {e}")))?
}

/// A file that is removed unless it is kept.
struct Partial {
    path: PathBuf,
    kept: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            drop(fs_err::remove_file(&self.path));
        }
    }
}

fn copy_blocking(
    from: &Path,
    to: &Path,
    progress: &dyn Fn(CopyProgress),
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let source = File::open(from).map_err(|e| Error::file("open", from, e))?;
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let mut partial = Partial {
        path: to.with_file_name(name),
        kept: false,
    };
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&partial.path)
        .map_err(|e| Error::file("create", &partial.path, e))?;
    let copied = match ioctl_ficlone(&target, &source) {
        Ok(()) => Ok(true),
        // Another file system, or one that cannot share.
        Err(_) => copy_data(&source, &target, progress, cancel),
    };
    match copied {
        Ok(true) => {}
        Ok(false) => return Err(Error::cancelled(&format!("the copy of {}", from.display()))),
        Err(e) => {
            return Err(Error::io(
                format!("cannot copy {} to {}", from.display(), to.display()),
                e,
            ));
        }
    }
    fs_err::rename(&partial.path, to).map_err(|e| Error::file("rename", &partial.path, e))?;
    partial.kept = true;
    Ok(())
}

/// Copies the data between the holes. False: cancelled.
fn copy_data(
    source: &File,
    target: &File,
    progress: &dyn Fn(CopyProgress),
    cancel: &CancellationToken,
) -> io::Result<bool> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let extents = data_extents(source, length)?;
    let total = extents.iter().map(|(start, end)| end - start).sum();
    let mut done = 0;
    let mut buffer = vec![0; CHUNK];
    progress(CopyProgress { done, total });
    for (start, end) in extents {
        let mut at = start;
        while at < end {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            let wanted = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let got = source.read_at(&mut buffer[..wanted], at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            write_without_zeroes(target, &buffer[..got], at)?;
            at += got as u64;
            done += got as u64;
            progress(CopyProgress { done, total });
        }
    }
    Ok(true)
}

/// Freed blocks are often zeroes on disk; they need no room in the copy.
fn write_without_zeroes(target: &File, data: &[u8], at: u64) -> io::Result<()> {
    let mut run_start = None;
    let mut offset = 0;
    for block in data.chunks(BLOCK) {
        let empty = block.iter().all(|&byte| byte == 0);
        match (empty, run_start) {
            (false, None) => run_start = Some(offset),
            (true, Some(start)) => {
                target.write_all_at(&data[start..offset], at + start as u64)?;
                run_start = None;
            }
            _ => {}
        }
        offset += block.len();
    }
    if let Some(start) = run_start {
        target.write_all_at(&data[start..], at + start as u64)?;
    }
    Ok(())
}

/// Where a sparse file holds data: from and to, in bytes.
pub fn data_extents(file: &File, length: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL) => {
                extents.push((at, length));
                break;
            }
            Err(e) => return Err(e.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        extents.push((start, end));
        at = end;
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::{Arc, Mutex};

    use super::*;

    fn sparse(path: &Path) -> Vec<u8> {
        let file = File::create(path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(&vec![7; 3 << 20], 20 << 20).unwrap();
        file.write_all_at(&vec![0; 1 << 20], 40 << 20).unwrap();
        file.write_all_at(b"end", (64 << 20) - 3).unwrap();
        fs_err::read(path).unwrap()
    }

    #[tokio::test]
    async fn a_copy_is_equal_and_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let content = sparse(&from);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        copy_disk(
            &from,
            &to,
            move |p| sink.lock().unwrap().push(p),
            &CancellationToken::new(),
        )
        .await
        .unwrap();
        assert!(fs_err::read(&to).unwrap() == content);
        assert!(to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks());
        let seen = seen.lock().unwrap();
        // Where extents can be shared there is nothing to report.
        if let Some(last) = seen.last() {
            assert_eq!(last.done, last.total);
        }
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn data_without_shared_extents_keeps_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let content = sparse(&from);
        let target = File::create(&to).unwrap();
        let done = copy_data(
            &File::open(&from).unwrap(),
            &target,
            &|_| {},
            &CancellationToken::new(),
        );
        assert!(done.unwrap());
        assert!(fs_err::read(&to).unwrap() == content);
        assert!(to.metadata().unwrap().blocks() * 512 < 4 << 20);
    }

    #[tokio::test]
    async fn a_cancelled_copy_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("a");
        sparse(&from);
        let source = File::open(&from).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let target = File::create(dir.path().join("c")).unwrap();
        assert!(!copy_data(&source, &target, &|_| {}, &cancel).unwrap());
    }
}
