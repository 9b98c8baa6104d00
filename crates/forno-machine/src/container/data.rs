//! A container's disks besides its root: each on a loop device of this computer that its
//! guest sees under the name that the caller gave it.
//!
//! A process of ours holds each device. It has told the device to go with its last user,
//! so it goes with that process, whatever ends it, once the guest has let go of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::root::{claim, released};
use crate::guardian::{Guardian, Process, SignalName, Spawn};
use crate::net::text;
use crate::{DataDisk, Error, ErrorKind};

const HOLD_DEADLINE: Duration = Duration::from_secs(30);

/// A disk on its device.
pub(super) struct Held {
    disk: PathBuf,
    /// Of this computer.
    device: String,
    /// In the guest.
    name: String,
    holder: Process,
}

const HOLD: &str = r#"
device=$(losetup --find --show "$1") || exit 1
exec 9<"$device"
losetup -d "$device"
echo "$device" > "$2.partial" && mv "$2.partial" "$2"
exec sleep infinity
"#;

/// Puts all disks on devices, or none. `dir` is the machine's folder.
pub(super) async fn hold(
    guardian: &Guardian,
    dir: &Path,
    disks: &[DataDisk],
) -> Result<Vec<Held>, Error> {
    let mut held = Vec::new();
    for disk in disks {
        match hold_one(guardian, dir, disk).await {
            Ok(one) => held.push(one),
            Err(error) => {
                release(guardian, held).await?;
                return Err(error);
            }
        }
    }
    Ok(held)
}

async fn hold_one(guardian: &Guardian, dir: &Path, wanted: &DataDisk) -> Result<Held, Error> {
    let disk =
        fs_err::canonicalize(&wanted.disk).map_err(|e| Error::file("find", &wanted.disk, e))?;
    claim(guardian, &disk).await?;
    let (told, log) = (
        dir.join(format!("{}.device", wanted.serial)),
        dir.join(format!("{}.log", wanted.serial)),
    );
    for former in [&told, &log] {
        drop(fs_err::remove_file(former));
    }
    let mut holder = guardian
        .spawn(Spawn {
            argv: ["sh", "-c", HOLD, "sh", text(&disk)?, text(&told)?]
                .map(str::to_owned)
                .into(),
            env: Vec::new(),
            cwd: dir.to_owned(),
            output: log.clone(),
        })
        .await?;
    let deadline = Instant::now() + HOLD_DEADLINE;
    loop {
        if let Ok(device) = fs_err::read_to_string(&told) {
            return Ok(Held {
                disk,
                device: device.trim().to_owned(),
                name: wanted.device.clone(),
                holder,
            });
        }
        let ended = tokio::select! {
            _ = holder.exited() => true,
            () = sleep(Duration::from_millis(5)) => Instant::now() > deadline,
        };
        if ended {
            drop(guardian.signal(holder.pid, SignalName::Kill).await);
            let said = fs_err::read_to_string(&log).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Disk,
                format!("no loop device for {}: {}", disk.display(), said.trim()),
            )
            .with_hint("look at `losetup --list`"));
        }
    }
}

/// Takes all disks off their devices, which no guest uses any more.
pub(super) async fn release(guardian: &Guardian, held: Vec<Held>) -> Result<(), Error> {
    for mut one in held {
        let asked = guardian.signal(one.holder.pid, SignalName::Kill).await;
        if asked.is_ok() {
            one.holder.exited().await;
        }
        released(&one.disk).await?;
    }
    Ok(())
}

impl Held {
    /// The options by which the guest gets it: as it was asked for, and as the kernel calls
    /// it, which is where a search by label or UUID looks.
    pub(super) fn binds(&self) -> [String; 2] {
        [&self.name, &self.device].map(|name| format!("--bind={}:{name}", self.device))
    }
}
