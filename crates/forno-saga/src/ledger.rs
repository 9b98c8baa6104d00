//! The ledger being written: one line per record, each on the disk before
//! anybody acts on it.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use forno_events::BakeId;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use jiff::Timestamp;
use serde_json::Value;

use crate::read::{self, History};
use crate::record::VERSION;
use crate::{BakeLock, Body, Error, Fold, Record};

/// A handle on the open ledger of a bake; clones share it. Holds the lock of
/// the bake until the last of them is gone.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
    dir: PathBuf,
}

#[derive(Debug)]
struct Inner {
    file: File,
    length: u64,
    poisoned: bool,
    fold: Fold,
    _lock: BakeLock,
}

impl Ledger {
    /// Begins the ledger of a new bake in `dir`, which is created with its
    /// parents, for its owner's eyes only.
    pub fn create(dir: &Path, bake: &BakeId, place: Value) -> Result<Self, Error> {
        create_private(dir).map_err(Error::io("create the folder of a bake"))?;
        let lock = BakeLock::acquire(dir)?;
        let file = fs_err::OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(read::path(dir))
            .map_err(Error::io("create a ledger"))?
            .into_file();
        let ledger = Self::over(dir, file, 0, Fold::default(), lock);
        ledger.append(Body::Opened {
            version: VERSION,
            bake: bake.clone(),
            place,
        })?;
        // The names in the folders must last as well as the bytes in the file.
        sync_folder(dir)?;
        if let Some(parent) = dir.parent() {
            sync_folder(parent)?;
        }
        Ok(ledger)
    }

    /// Takes up the ledger of a bake whose process is gone. A torn last line
    /// is cut off.
    pub fn reopen(dir: &Path) -> Result<Self, Error> {
        let lock = BakeLock::acquire(dir)?;
        let History { fold, length, .. } = read::read(dir)?;
        // Missing when the process ended before its first record.
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(read::path(dir))
            .map_err(Error::io("open a ledger"))?
            .into_file();
        file.set_len(length)
            .map_err(Error::io("cut the torn end off a ledger"))?;
        Ok(Self::over(dir, file, length, fold, lock))
    }

    fn over(dir: &Path, file: File, length: u64, fold: Fold, lock: BakeLock) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                file,
                length,
                poisoned: false,
                fold,
                _lock: lock,
            })),
            dir: dir.to_owned(),
        }
    }

    /// Writes one record; on return it is on the disk. An illegal record is
    /// refused and leaves the file as it was.
    pub fn append(&self, body: Body) -> Result<(), Error> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.poisoned {
            return Err(Error::Poisoned(self.dir.clone()));
        }
        let record = Record {
            seq: inner.fold.next_seq(),
            at: Timestamp::now(),
            body,
        };
        let mut fold = inner.fold.clone();
        fold.apply(&record)?;
        let mut line = serde_json::to_vec(&record)
            .map_err(|error| Error::io("write a record")(error.into()))?;
        line.push(b'\n');
        inner.write(&line)?;
        inner.fold = fold;
        Ok(())
    }

    /// As [`Ledger::append`], off the runtime's own threads: an `fsync` can
    /// take as long as it likes.
    pub async fn record(&self, body: Body) -> Result<(), Error> {
        let ledger = self.clone();
        tokio::task::spawn_blocking(move || ledger.append(body))
            .await
            .map_err(|error| Error::io("write a record")(std::io::Error::other(error)))?
    }

    /// Where things stand now.
    pub fn fold(&self) -> Fold {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.fold.clone()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Inner {
    fn write(&mut self, line: &[u8]) -> Result<(), Error> {
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(line))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half a line in the middle would be a gap for whoever reads it.
            // Take it back, and if that fails write nothing behind it.
            let back = self
                .file
                .set_len(self.length)
                .and_then(|()| self.file.sync_data());
            self.poisoned = back.is_err();
            return Err(Error::io("write to the ledger")(source));
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| std::io::Error::new(error.kind(), format!("`{}`: {error}", dir.display())))
}

fn sync_folder(dir: &Path) -> Result<(), Error> {
    fs_err::File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("make the folder of a bake last"))
}
