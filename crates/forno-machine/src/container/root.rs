//! A disk's root as a folder, through a loop device.
//!
//! The device is set up by the mount itself, so that it clears itself when the
//! last mount of it goes. The offset is given instead of a partition: nothing
//! here depends on partition nodes, which need udev.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disk::Root;
use crate::guardian::Guardian;
use crate::net::text;
use crate::{Error, ErrorKind};

/// How long the kernel may take to let go of a device after the unmount.
const RELEASE_DEADLINE: Duration = Duration::from_secs(30);

/// A mounted root, in the guardian's view of the file system.
#[derive(Debug)]
pub(super) struct MountedRoot {
    pub(super) path: PathBuf,
    disk: PathBuf,
}

impl MountedRoot {
    /// Mounts a disk's root at `path`, stretched to the size of the disk.
    pub(super) async fn mount(
        guardian: &Guardian,
        disk: &Path,
        path: PathBuf,
    ) -> Result<Self, Error> {
        let disk = fs_err::canonicalize(disk).map_err(|e| Error::file("find", disk, e))?;
        if let Some(device) = loop_devices_of(&disk).first() {
            return Err(Error::new(
                ErrorKind::Disk,
                format!("{} is in use by {device}", disk.display()),
            ));
        }
        let root = Root::stretch(&disk)?;
        fs_err::create_dir_all(&path).map_err(|e| Error::file("create", &path, e))?;
        // The kernel would fill a sparse disk with empty inode tables otherwise.
        let options = format!(
            "loop,offset={},sizelimit={},noinit_itable",
            root.start, root.size
        );
        let (from, to) = (text(&disk)?, text(&path)?);
        guardian
            .run(&["mount", "-t", "ext4", "-o", &options, from, to], "")
            .await
            .map_err(explain_mount)?;
        let mounted = Self { path, disk };
        // A file system ends at a whole block group at the earliest.
        if root.size.saturating_sub(root.filesystem) >= 1 << 20
            && let Err(error) = mounted.stretch(guardian).await
        {
            mounted.unmount(guardian).await?;
            return Err(error);
        }
        Ok(mounted)
    }

    async fn stretch(&self, guardian: &Guardian) -> Result<(), Error> {
        let target = text(&self.path)?;
        let device = guardian
            .run(
                &["findmnt", "-n", "-o", "SOURCE", "--mountpoint", target],
                "",
            )
            .await?;
        guardian
            .run(&["resize2fs", device.trim()], "")
            .await
            .map(drop)
    }

    /// Unmounts; returns when the disk belongs to nobody any more.
    pub(super) async fn unmount(self, guardian: &Guardian) -> Result<(), Error> {
        let deadline = Instant::now() + RELEASE_DEADLINE;
        let target = text(&self.path)?;
        while let Err(error) = guardian.run(&["umount", target], "").await {
            if error.kind() == ErrorKind::Guardian || Instant::now() > deadline {
                return Err(error);
            }
            sleep(Duration::from_millis(50)).await;
        }
        // The file system lives on as long as the container's own mount
        // namespace does, which the kernel takes down a moment after its end.
        while let Some(device) = loop_devices_of(&self.disk).first() {
            if Instant::now() > deadline {
                return Err(Error::new(
                    ErrorKind::Disk,
                    format!("{device} does not let go of {}", self.disk.display()),
                ));
            }
            sleep(Duration::from_millis(5)).await;
        }
        drop(fs_err::remove_dir(&self.path));
        Ok(())
    }
}

fn explain_mount(error: Error) -> Error {
    let said = error.to_string();
    if said.contains("loop device") || said.contains("/dev/loop") {
        return Error::new(
            ErrorKind::Disk,
            format!("no loop device could be set up: {said}"),
        )
        .with_hint(
            "look at `losetup --list`; `modprobe loop` and a free /dev/loop-control are needed",
        );
    }
    error
}

/// The loop devices that stand on a file.
fn loop_devices_of(disk: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("loop/backing_file"))
                .is_ok_and(|file| Path::new(file.trim_end_matches('\n')) == disk)
        })
        .map(|entry| format!("/dev/{}", entry.file_name().to_string_lossy()))
        .collect()
}
