//! The copies that snapshots are made by: from disk to disk, with progress in each
//! snapshot and the outcome in all of them and the image, where there is to be one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use forno_machine::CopyProgress;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::orders::{Capture, Fleet, Part, lock};
use crate::error::chain;
use crate::faults::CaptureEnd;
use crate::state::world::{ImageState, Reason, SnapshotState};

/// What a snapshot shows whose copy is made but which is not completed.
const COPIED: u8 = 99;

impl Fleet {
    /// Copies quiescent disks (or live ones, where the caller of CreateImage
    /// asked for no reboot) and settles the snapshots and the image.
    pub(super) async fn capture(self: Arc<Self>, capture: Capture) {
        let first = capture.parts.first();
        let cancel = first.and_then(|part| lock(&self.captures).get(&part.snapshot).cloned());
        let cancel = cancel.unwrap_or_default();
        let mut outcome = Ok(());
        for part in &capture.parts {
            outcome = self.copy(&capture.region, part, &cancel).await;
            if outcome.is_err() {
                break;
            }
        }
        if let Err(why) = outcome {
            return self
                .settle(&capture, Some(Err(why.clone())), Some(Err(why)))
                .await;
        }
        if capture.end.is_none() && capture.image_due <= Instant::now() {
            return self.settle(&capture, Some(Ok(())), Some(Ok(()))).await;
        }
        // Apart, so that the instance can go on meanwhile.
        let fleet = Arc::clone(&self);
        self.tasks.spawn(async move {
            if cancel
                .run_until_cancelled(fleet.ripen(&capture))
                .await
                .is_none()
            {
                let why = internal("the capture was given up");
                fleet
                    .settle(&capture, Some(Err(why.clone())), Some(Err(why)))
                    .await;
            }
        });
    }

    /// Lets a capture whose copy is made end when its time has come, and as a
    /// plan of faults says.
    async fn ripen(&self, capture: &Capture) {
        for part in &capture.parts {
            self.show_percent(&capture.region, part, COPIED);
        }
        match &capture.end {
            None => {
                tokio::time::sleep_until(capture.snapshot_due).await;
                self.settle(capture, Some(Ok(())), None).await;
                tokio::time::sleep_until(capture.image_due).await;
                self.settle(capture, None, Some(Ok(()))).await;
            }
            Some(CaptureEnd::ImageFails(why, at)) => {
                tokio::time::sleep_until(*at).await;
                self.settle(capture, Some(Ok(())), Some(Err(why.clone())))
                    .await;
            }
            Some(CaptureEnd::SnapshotFails(why, at)) => {
                tokio::time::sleep_until(*at).await;
                self.settle(capture, Some(Err(why.clone())), Some(Err(why.clone())))
                    .await;
            }
            Some(CaptureEnd::Stuck(loose)) => {
                loose.cancelled().await;
                self.settle(capture, Some(Ok(())), Some(Ok(()))).await;
            }
        }
    }

    /// Ends a capture that cannot even begin.
    pub(super) async fn capture_failed(&self, capture: &Capture, why: Reason) {
        self.settle(capture, Some(Err(why.clone())), Some(Err(why)))
            .await;
    }

    fn show_percent(&self, region: &str, part: &Part, percent: u8) {
        self.store.change(|world| {
            let region = world.region(region);
            if let Some(snapshot) = region.snapshots.get_mut(&part.snapshot) {
                snapshot.state = SnapshotState::Pending { percent };
            }
        });
    }

    async fn copy(
        self: &Arc<Self>,
        region: &str,
        part: &Part,
        cancel: &CancellationToken,
    ) -> Result<(), Reason> {
        let Some(from) = &part.from else {
            return Ok(());
        };
        let to = self.store.read(|world| {
            let snapshots = &world.regions.get(region)?.snapshots;
            Some(snapshots.get(&part.snapshot)?.disk.clone())
        });
        let to = to.ok_or_else(|| internal("the snapshot was deleted"))?;
        let seen = AtomicU8::new(0);
        let (fleet, region, shown) = (Arc::clone(self), region.to_owned(), part.clone());
        let progress = move |progress: CopyProgress| {
            let percent = progress
                .done
                .saturating_mul(100)
                .checked_div(progress.total)
                .unwrap_or(0);
            let percent = u8::try_from(percent).unwrap_or(COPIED).min(COPIED);
            if seen.swap(percent, Ordering::Relaxed) != percent {
                fleet.show_percent(&region, &shown, percent);
            }
        };
        forno_machine::copy_disk(from, &to, progress, cancel)
            .await
            .map_err(|error| internal(chain(&error)))
    }

    async fn settle(
        &self,
        capture: &Capture,
        of_snapshot: Option<Result<(), Reason>>,
        of_image: Option<Result<(), Reason>>,
    ) {
        // What is being made when the endpoint ends has failed, and is told so.
        if self.closing.is_cancelled() {
            return;
        }
        let now = Timestamp::now();
        let last = of_image.is_some();
        let orphans = self
            .store
            .change_and_save(|world| {
                let region = world.region(&capture.region);
                let image = capture.image.as_ref();
                let image = image.and_then(|id| region.images.get_mut(id));
                if let (Some(outcome), Some(image)) = (of_image, image) {
                    image.state = match outcome {
                        Ok(()) => ImageState::Available,
                        Err(why) => ImageState::Failed(why),
                    };
                }
                let Some(outcome) = of_snapshot else {
                    return Vec::new();
                };
                let mut orphans = Vec::new();
                for part in &capture.parts {
                    let Some(snapshot) = region.snapshots.get_mut(&part.snapshot) else {
                        orphans.push(&part.snapshot);
                        continue;
                    };
                    match &outcome {
                        Ok(()) => {
                            snapshot.state = SnapshotState::Completed;
                            snapshot.completed = Some(now);
                        }
                        Err(why) => snapshot.state = SnapshotState::Error(why.message.clone()),
                    }
                }
                orphans
            })
            .await;
        if last {
            let mut captures = lock(&self.captures);
            for part in &capture.parts {
                captures.remove(&part.snapshot);
            }
        }
        for snapshot in orphans {
            let disk = self.folder.disks().join(format!("{snapshot}.raw"));
            let _ = fs_err::tokio::remove_file(disk).await;
        }
    }
}

fn internal(why: impl std::fmt::Display) -> Reason {
    Reason::new("Server.InternalError", why)
}
