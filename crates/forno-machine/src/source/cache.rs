//! Made disks, one folder per key; made under a lock, found without one.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Progress, SourceDisk};
use crate::{Error, ErrorKind};

const DISK: &str = "disk.raw";
const RECORD: &str = "source.json";
const WORKSHOP: &str = ".making";

pub(super) struct Cache {
    dir: PathBuf,
}

/// What is written beside a disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub date: String,
    pub serial: String,
    pub packages_digest: String,
    pub packages: usize,
    pub size_bytes: u64,
}

/// The right to make disks here.
pub(super) struct Lock {
    dir: PathBuf,
    file: File,
}

/// A folder in which a disk is made; gone when it is not adopted.
pub(super) struct Workshop {
    pub dir: PathBuf,
    _lock: File,
}

impl Workshop {
    pub(super) fn disk(&self) -> PathBuf {
        self.dir.join(DISK)
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<(), Error> {
        let path = self.dir.join(RECORD);
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::io("cannot write a record", e.into()))?;
        fs_err::write(&path, text).map_err(|e| Error::file("write", &path, e))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        drop(fs_err::remove_dir_all(&self.dir));
    }
}

impl Cache {
    pub(super) fn new(cache_dir: &Path) -> Self {
        Self {
            dir: cache_dir.join("source"),
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<SourceDisk> {
        let dir = self.dir.join(key);
        let record = fs_err::read(dir.join(RECORD)).ok()?;
        let record = serde_json::from_slice::<Record>(&record).ok()?;
        let path = dir.join(DISK);
        path.is_file().then_some(SourceDisk {
            path,
            date: record.date,
            serial: record.serial,
            packages_digest: record.packages_digest,
            packages: record.packages,
            size_bytes: record.size_bytes,
        })
    }

    /// Waits for the right to make disks.
    pub(super) async fn lock(
        &self,
        progress: &(dyn Fn(Progress) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Lock, Error> {
        // Nobody else may put a disk here, whatever the umask says.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.dir)
            .map_err(|e| Error::file("create", &self.dir, e))?;
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(|e| Error::file("create", &path, e))?;
        let mut told = false;
        while file.try_lock().is_err() {
            if !told {
                progress(Progress::WaitingForOther);
                told = true;
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(Error::cancelled("the making of the source disk")),
                () = sleep(Duration::from_millis(200)) => {}
            }
        }
        Ok(Lock {
            dir: self.dir.clone(),
            file,
        })
    }

    /// Takes what was made into the cache.
    pub(super) fn adopt(&self, key: &str, workshop: Workshop) -> Result<SourceDisk, Error> {
        let to = self.dir.join(key);
        if to.exists() {
            // Not a whole one, or it had been found.
            fs_err::remove_dir_all(&to).map_err(|e| Error::file("remove", &to, e))?;
        }
        fs_err::rename(&workshop.dir, &to).map_err(|e| Error::file("rename", &workshop.dir, e))?;
        drop(workshop);
        self.find(key).ok_or_else(|| {
            Error::new(
                ErrorKind::Source,
                format!("the made disk in {} cannot be read again", to.display()),
            )
        })
    }
}

impl Lock {
    /// An empty folder to work in. What a lost maker left is removed: it was
    /// made under this lock, so nobody works in it any more.
    pub(super) fn workshop(self) -> Result<Workshop, Error> {
        let dir = self.dir.join(WORKSHOP);
        if dir.exists() {
            fs_err::remove_dir_all(&dir).map_err(|e| Error::file("remove", &dir, e))?;
        }
        fs_err::create_dir(&dir).map_err(|e| Error::file("create", &dir, e))?;
        Ok(Workshop {
            dir,
            _lock: self.file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            date: "20260102".to_owned(),
            serial: "0304".to_owned(),
            packages_digest: "d".to_owned(),
            packages: 3,
            size_bytes: 1,
        }
    }

    #[tokio::test]
    async fn a_disk_is_found_only_when_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let lock = cache
            .lock(&|_| {}, &CancellationToken::new())
            .await
            .unwrap();
        let workshop = lock.workshop().unwrap();
        fs_err::write(workshop.disk(), "x").unwrap();
        assert_eq!(cache.find("k"), None);
        workshop.write_record(&record()).unwrap();
        let disk = cache.adopt("k", workshop).unwrap();
        assert_eq!(disk.name(), "debian-12-amd64-20260102-0304");
        assert_eq!(cache.find("k"), Some(disk));
    }

    #[tokio::test]
    async fn a_failed_making_leaves_nothing_and_frees_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let cancel = CancellationToken::new();
        let lock = cache.lock(&|_| {}, &cancel).await.unwrap();
        let workshop = lock.workshop().unwrap();
        let place = workshop.dir.clone();
        // Another one waits until it is cancelled.
        let waiting = cancel.clone();
        let told = |p| {
            assert_eq!(p, Progress::WaitingForOther);
            waiting.cancel();
        };
        let other = cache.lock(&told, &cancel).await;
        assert_eq!(other.err().unwrap().kind(), ErrorKind::Cancelled);
        drop(workshop);
        assert!(!place.exists());
        cache
            .lock(&|_| {}, &CancellationToken::new())
            .await
            .unwrap();
    }
}
