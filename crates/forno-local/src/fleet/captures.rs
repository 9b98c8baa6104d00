//! CreateImage's copy: from the volume's disk to the snapshot's, with progress
//! in the snapshot and the outcome in both snapshot and image.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use forno_machine::CopyProgress;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::orders::{Capture, Fleet, lock};
use crate::error::chain;
use crate::faults::CaptureEnd;
use crate::state::world::{ImageState, Reason, SnapshotState};

impl Fleet {
    /// Copies a quiescent disk (or a live one, where the caller of CreateImage
    /// asked for no reboot) and settles the snapshot and the image.
    pub(super) async fn capture(self: Arc<Self>, capture: Capture, from: &Path) {
        let cancel = lock(&self.captures)
            .get(&capture.snapshot)
            .cloned()
            .unwrap_or_default();
        let outcome = self.copy(&capture, from, &cancel).await;
        match (outcome, capture.end.clone()) {
            (Ok(()), Some(end)) => {
                // Apart, so that the instance can go on meanwhile.
                let fleet = Arc::clone(&self);
                self.tasks
                    .spawn(async move { fleet.end_otherwise(&capture, end, &cancel).await });
            }
            (outcome, _) => self.settle(&capture, outcome.clone(), outcome).await,
        }
    }

    /// Ends a capture whose copy is made as a plan of faults says.
    async fn end_otherwise(&self, capture: &Capture, end: CaptureEnd, cancel: &CancellationToken) {
        let (snapshot, image, at) = match end {
            CaptureEnd::ImageFails(why, after) => (Ok(()), Err(why), Some(after)),
            CaptureEnd::SnapshotFails(why, after) => (Err(why.clone()), Err(why), Some(after)),
            CaptureEnd::Stuck(loose) => {
                loose.run_until_cancelled(cancel.cancelled()).await;
                (Ok(()), Ok(()), None)
            }
        };
        if let Some(after) = at {
            cancel.run_until_cancelled(tokio::time::sleep(after)).await;
        }
        if cancel.is_cancelled() {
            let why = internal("the capture was given up");
            self.settle(capture, Err(why.clone()), Err(why)).await;
        } else {
            self.settle(capture, snapshot, image).await;
        }
    }

    /// Ends a capture that cannot even begin.
    pub(super) async fn capture_failed(&self, capture: &Capture, why: Reason) {
        self.settle(capture, Err(why.clone()), Err(why)).await;
    }

    async fn copy(
        self: &Arc<Self>,
        capture: &Capture,
        from: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), Reason> {
        let to = self.store.read(|world| {
            let snapshot = world
                .regions
                .get(&capture.region)?
                .snapshots
                .get(&capture.snapshot)?;
            Some(snapshot.disk.clone())
        });
        let to = to.ok_or_else(|| internal("the snapshot was deleted"))?;
        let seen = AtomicU8::new(0);
        let (fleet, target) = (Arc::clone(self), capture.clone());
        let progress = move |progress: CopyProgress| {
            let percent = progress
                .done
                .saturating_mul(100)
                .checked_div(progress.total)
                .unwrap_or(0);
            let percent = u8::try_from(percent.min(99)).unwrap_or(99);
            if seen.swap(percent, Ordering::Relaxed) != percent {
                fleet.store.change(|world| {
                    let region = world.region(&target.region);
                    if let Some(snapshot) = region.snapshots.get_mut(&target.snapshot) {
                        snapshot.state = SnapshotState::Pending { percent };
                    }
                });
            }
        };
        forno_machine::copy_disk(from, &to, progress, cancel)
            .await
            .map_err(|error| internal(chain(&error)))
    }

    async fn settle(
        &self,
        capture: &Capture,
        of_snapshot: Result<(), Reason>,
        of_image: Result<(), Reason>,
    ) {
        // What is being made when the endpoint ends has failed, and is told so.
        if self.closing.is_cancelled() {
            return;
        }
        let now = Timestamp::now();
        let orphan = self
            .store
            .change_and_save(|world| {
                let region = world.region(&capture.region);
                if let Some(image) = region.images.get_mut(&capture.image) {
                    image.state = match of_image {
                        Ok(()) => ImageState::Available,
                        Err(why) => ImageState::Failed(why),
                    };
                }
                let Some(snapshot) = region.snapshots.get_mut(&capture.snapshot) else {
                    return true;
                };
                match of_snapshot {
                    Ok(()) => {
                        snapshot.state = SnapshotState::Completed;
                        snapshot.completed = Some(now);
                    }
                    Err(why) => snapshot.state = SnapshotState::Error(why.message),
                }
                false
            })
            .await;
        lock(&self.captures).remove(&capture.snapshot);
        if orphan {
            let disk = self
                .folder
                .disks()
                .join(format!("{}.raw", capture.snapshot));
            let _ = fs_err::tokio::remove_file(disk).await;
        }
    }
}

fn internal(why: impl std::fmt::Display) -> Reason {
    Reason::new("Server.InternalError", why)
}
