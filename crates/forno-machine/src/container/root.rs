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
/// How long a former user of a disk may take to let go of it.
const CLAIM_DEADLINE: Duration = Duration::from_secs(2);

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
        claim(guardian, &disk).await?;
        let root = Root::stretch(&disk)?;
        // A file system ends at a whole block group at the earliest.
        if root.size.saturating_sub(root.filesystem) >= 1 << 20 {
            stretch(guardian, &disk, &root).await?;
        }
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
            .map_err(explain)?;
        Ok(Self { path, disk })
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

/// Makes sure that nobody uses the disk. A device that is set up and not used
/// is a remainder, and taken down.
async fn claim(guardian: &Guardian, disk: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + CLAIM_DEADLINE;
    loop {
        let devices = loop_devices_of(disk);
        let Some(device) = devices.first() else {
            return Ok(());
        };
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::Disk,
                format!("{} is in use by {device}", disk.display()),
            ));
        }
        // On a device in use this asks only for what it does anyway: to go
        // with its last user.
        if let Err(error) = guardian.run(&["losetup", "-d", device], "").await {
            tracing::debug!(%error, "a loop device stays");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Stretches the file system over its partition. Not while it is mounted: for
/// that the kernel asks for rights that root may lack where it is confined.
async fn stretch(guardian: &Guardian, disk: &Path, root: &Root) -> Result<(), Error> {
    let (offset, size) = (root.start.to_string(), root.size.to_string());
    guardian
        .run(
            &["sh", "-c", STRETCH, "sh", &offset, &size, text(disk)?],
            "",
        )
        .await
        .map(drop)
        .map_err(explain)
}

/// The device is told to go with its last user before it is used, so it goes
/// however this ends. A file system that was in use since its last check is
/// refused at first. The check replays the journal of a machine that was
/// killed; its first two statuses say that all is well now.
const STRETCH: &str = r#"
set -e
device=$(losetup --find --show --offset "$1" --sizelimit "$2" "$3")
exec 9<"$device"
losetup -d "$device"
resize2fs "$device" && exit
e2fsck -f -p "$device" || [ $? -le 1 ]
resize2fs "$device"
"#;

fn explain(error: Error) -> Error {
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
