//! Who is alive: a lock on a file of the bake's folder, held by the process
//! that works on it and given back by the kernel however that process ends.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};

use crate::Error;

const FILE: &str = "lock";

/// Held for as long as this value lives.
#[derive(Debug)]
pub struct BakeLock {
    _file: File,
}

impl BakeLock {
    /// Takes the bake in `dir`, or says that another process has it.
    pub fn acquire(dir: &Path) -> Result<Self, Error> {
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path(dir))
            .map_err(Error::io("open the lock of a bake"))?;
        match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                // `is_alive` elsewhere holds it for a moment while asking.
                probe_may_be_over(file.file(), dir)?;
            }
            Err(errno) => return Err(Error::io("lock a bake")(errno.into())),
        }
        // For people who look into the folder; nothing reads it back.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self {
            _file: file.into_file(),
        })
    }
}

fn probe_may_be_over(file: &File, dir: &Path) -> Result<(), Error> {
    // A prober holds a shared lock. If we can share, there is no living owner.
    for _ in 0..200 {
        if flock(file, FlockOperation::NonBlockingLockShared).is_err() {
            return Err(Error::Alive(dir.to_owned()));
        }
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Err(Error::Alive(dir.to_owned()))
}

/// Whether a living process works on the bake in `dir`.
pub fn is_alive(dir: &Path) -> Result<bool, Error> {
    let file = match fs_err::OpenOptions::new().read(true).open(path(dir)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("open the lock of a bake")(error)),
    };
    match flock(file.file(), FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(Error::io("ask for the lock of a bake")(errno.into())),
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bake_is_alive_while_its_lock_is_held() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_alive(dir.path()).unwrap());
        let lock = BakeLock::acquire(dir.path()).unwrap();
        assert!(is_alive(dir.path()).unwrap());
        assert!(matches!(
            BakeLock::acquire(dir.path()),
            Err(Error::Alive(_))
        ));
        drop(lock);
        assert!(!is_alive(dir.path()).unwrap());
        drop(BakeLock::acquire(dir.path()).unwrap());
    }

    #[test]
    fn somebody_who_asks_is_no_owner() {
        let dir = tempfile::tempdir().unwrap();
        drop(BakeLock::acquire(dir.path()).unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let _ = is_alive(dir.path());
                    }
                });
            }
            for _ in 0..200 {
                drop(BakeLock::acquire(dir.path()).unwrap());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
