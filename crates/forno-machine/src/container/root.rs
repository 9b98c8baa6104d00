//! A disk's root as a folder, through a loop device.
//!
//! The device is set up by the mount itself, so that it clears itself when the
//! last mount of it goes. The offset is given instead of a partition: nothing
//! here depends on partition nodes, which need udev.
//!
//! Each boot of a container mounts the root in a mount namespace of its own.
//! In a shared one every container started later would carry the mount along,
//! hidden under its own root where nobody can unmount it, and keep the disk in
//! use for as long as it lives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disk::Root;
use crate::guardian::Guardian;
use crate::net::text;
use crate::{Error, ErrorKind};

/// How long the kernel may take to let go of a device after a guest's end.
const RELEASE_DEADLINE: Duration = Duration::from_secs(30);
/// How long a former user of a disk may take to let go of it.
const CLAIM_DEADLINE: Duration = Duration::from_secs(2);

/// A disk that can be mounted.
#[derive(Debug)]
pub(super) struct RootDisk {
    disk: PathBuf,
    root: Root,
}

impl RootDisk {
    /// Makes sure that the disk is free and its root as large as it is.
    pub(super) async fn prepare(guardian: &Guardian, disk: &Path) -> Result<Self, Error> {
        let disk = fs_err::canonicalize(disk).map_err(|e| Error::file("find", disk, e))?;
        claim(guardian, &disk).await?;
        let root = Root::stretch(&disk)?;
        // A file system ends at a whole block group at the earliest.
        if root.size.saturating_sub(root.filesystem) >= 1 << 20 {
            stretch(guardian, &disk, &root).await?;
        }
        Ok(Self { disk, root })
    }

    /// A command that mounts the root at `target`, for itself and its children,
    /// and becomes what is put after it. What goes wrong before that is said in
    /// `log`.
    pub(super) fn mounting(&self, target: &Path, log: &Path) -> Result<Vec<String>, Error> {
        // The kernel would fill a sparse disk with empty inode tables otherwise.
        let options = format!(
            "loop,offset={},sizelimit={},noinit_itable",
            self.root.start, self.root.size
        );
        Ok([
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "--",
            "sh",
            "-c",
            MOUNTING,
            "sh",
            text(log)?,
            &options,
            text(&self.disk)?,
            text(target)?,
        ]
        .map(str::to_owned)
        .into())
    }

    pub(super) async fn released(&self) -> Result<(), Error> {
        released(&self.disk).await
    }
}

/// Waits until the disk belongs to nobody any more. The file system lives on
/// as long as a guest's mount namespace does, which the kernel takes down a
/// moment after the guest's end.
pub(super) async fn released(disk: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    while let Some(device) = loop_devices_of(disk).first() {
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::Disk,
                format!("{device} does not let go of {}", disk.display()),
            ));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

const MOUNTING: &str = r#"
log=$1 options=$2 disk=$3 target=$4
shift 4
mount -t ext4 -o "$options" "$disk" "$target" 2> "$log" || exit 1
exec "$@"
"#;

/// Why a guest did not start, by what its mounting said.
pub(super) fn explain_log(log: &Path) -> Option<Error> {
    let said = fs_err::read_to_string(log).ok()?;
    let said = said.trim();
    (!said.is_empty()).then(|| explain(Error::new(ErrorKind::Disk, said)))
}

/// Makes sure that nobody uses the disk. A device that is set up and not used
/// is a remainder, and taken down.
pub(super) async fn claim(guardian: &Guardian, disk: &Path) -> Result<(), Error> {
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
