//! The state folder: private to its user, held by one process at a time.
//!
//! The kernel's lock on a file decides who holds it, so a killed process gives
//! the folder back by dying. `endpoint.json` only says how to reach the holder.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::endpoint::EndpointInfo;
use crate::error::Error;

/// A state folder that this process holds.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// The lock lasts as long as this file is open.
    _lock: fs::File,
}

impl Folder {
    /// Makes the folder where it is missing and takes its lock.
    pub(crate) fn take(root: &Path) -> Result<Self, Error> {
        for part in [
            root.to_owned(),
            root.join("disks"),
            root.join("machines"),
            root.join("objects"),
        ] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&part)
                .map_err(|source| Error::Io {
                    what: "create state folder",
                    path: part.clone(),
                    source,
                })?;
        }
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { what, path, source }
        };
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))
            .map_err(io("make private the state folder", root))?;
        let path = root.join("lock");
        let mut options = fs::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options.open(&path).map_err(io("open lock", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            lock.read_to_string(&mut pid)
                .map_err(io("read lock", &path))?;
            let pid = pid.trim().parse().unwrap_or(0);
            let url = read_json::<EndpointInfo>(&root.join("endpoint.json"))?
                .filter(|info| info.pid == pid && info.mode == crate::Mode::Serve)
                .map(|info| info.url);
            return Err(Error::InUse {
                folder: root.to_owned(),
                pid,
                url,
            });
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .map_err(io("write lock", &path))?;
        writeln!(lock, "{}", std::process::id()).map_err(io("write lock", &path))?;
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// Whether some process holds a folder now.
    pub(crate) fn is_held(root: &Path) -> bool {
        match fs::File::open(root.join("lock")) {
            Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockShared).is_err(),
            Err(_) => false,
        }
    }

    pub(crate) fn endpoint_file(&self) -> PathBuf {
        self.root.join("endpoint.json")
    }

    pub(crate) fn credentials_file(&self) -> PathBuf {
        self.root.join("credentials.json")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Where raw disks of volumes and snapshots lie.
    pub(crate) fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    /// Where each machine has a folder of its own.
    pub(crate) fn machines(&self) -> PathBuf {
        self.root.join("machines")
    }

    /// Where the contents of objects lie.
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Where machines fetch objects.
    pub(crate) fn machines_socket(&self) -> PathBuf {
        self.root.join("objects.sock")
    }

    /// What belongs to the machines' host.
    pub(crate) fn host(&self) -> PathBuf {
        self.root.join("host")
    }
}

/// Reads a file of ours; `None` when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::Io {
                what: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// Writes a file so that at every moment either the old or the new one is
/// there whole, readable by its user only.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let temporary = path.with_extension("new");
    let io = |source| Error::Io {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(io)?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    fs::rename(&temporary, path).map_err(io)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let held = Folder::take(&root).unwrap();
        assert_eq!(
            fs::metadata(&root).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(Folder::is_held(&root));
        let Err(Error::InUse { pid, url, .. }) = Folder::take(&root) else {
            panic!("taken twice")
        };
        assert_eq!((pid, url), (std::process::id(), None));
        let info = EndpointInfo {
            url: "http://127.0.0.1:1".into(),
            machine_url: String::new(),
            region: "us-east-1".into(),
            pid: std::process::id(),
            mode: crate::Mode::Serve,
        };
        write_json(&held.endpoint_file(), &info).unwrap();
        let error = Folder::take(&root).unwrap_err();
        assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
        drop(held);
        assert!(!Folder::is_held(&root));
        Folder::take(&root).unwrap();
    }

    #[test]
    fn files_are_private_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &7).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(7));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::write(&path, "{").unwrap();
        assert!(matches!(
            read_json::<u32>(&path),
            Err(Error::Damaged { .. })
        ));
    }
}
