//! What becomes of instances whose endpoint has ended: machines die with it,
//! so at the next start (and at an orderly end) their instances are terminated,
//! their volumes go as the launch said, and what was being made has failed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::state::folder::Folder;
use crate::state::world::{ImageState, InstanceState, Reason, RegionState, SnapshotState, World};

/// The state of instances of an endpoint that is no more.
const ENDED: &str = "Server.EndpointShutdown";

/// Brings the world to rest and removes every file that it does not name.
pub(crate) fn bury(world: &mut World, folder: &Folder, now: Timestamp) {
    for region in world.regions.values_mut() {
        bury_region(region, now);
    }
    let kept: BTreeSet<PathBuf> = world
        .regions
        .values()
        .flat_map(|region| {
            let volumes = region.volumes.values().map(|volume| volume.disk.clone());
            volumes.chain(
                region
                    .snapshots
                    .values()
                    .map(|snapshot| snapshot.disk.clone()),
            )
        })
        .collect();
    sweep(&folder.disks(), |path| kept.contains(path));
    sweep(&folder.machines(), |_| false);
    let objects = folder.objects();
    let contents: BTreeSet<PathBuf> = world
        .buckets
        .values()
        .flat_map(|bucket| bucket.files().map(|file| objects.join(file)))
        .collect();
    sweep(&objects, |path| contents.contains(path));
}

fn bury_region(region: &mut RegionState, now: Timestamp) {
    for instance in region.instances.values_mut() {
        if instance.state == InstanceState::Terminated {
            continue;
        }
        instance.state = InstanceState::Terminated;
        instance.ended = Some(now);
        instance.reason = Some(Reason::new(
            ENDED,
            "The endpoint that ran this instance has ended",
        ));
        "Server initiated".clone_into(&mut instance.transition);
    }
    release_volumes(region, |_| true);
    for image in region.images.values_mut() {
        if image.state == ImageState::Pending {
            image.state = ImageState::Failed(Reason::new(
                "Server.InternalError",
                "The endpoint ended while the image was being created",
            ));
        }
    }
    for snapshot in region.snapshots.values_mut() {
        if matches!(snapshot.state, SnapshotState::Pending { .. }) {
            snapshot.state = SnapshotState::Error(
                "the endpoint ended while the snapshot was being taken".to_owned(),
            );
        }
    }
}

/// Detaches the volumes of instances that ended; returns the disks of those
/// that ended with them. Their interfaces are gone, and so are those tags.
pub(super) fn release_volumes(
    region: &mut RegionState,
    ended: impl Fn(&str) -> bool,
) -> Vec<PathBuf> {
    for instance in region.instances.values() {
        if ended(&instance.id) {
            region.tags.remove(&instance.interface);
        }
    }
    let mut gone = Vec::new();
    for volume in region.volumes.values_mut() {
        if let Some(attachment) = volume
            .attachment
            .take_if(|attachment| ended(&attachment.instance))
            && attachment.delete_on_termination
        {
            gone.push(volume.id.clone());
        }
    }
    gone.into_iter()
        .filter_map(|id| {
            region.tags.remove(&id);
            region.volumes.remove(&id).map(|volume| volume.disk)
        })
        .collect()
}

fn sweep(folder: &std::path::Path, keep: impl Fn(&PathBuf) -> bool) {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, "folder not swept");
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if keep(&path) {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir {
            fs_err::remove_dir_all(&path)
        } else {
            fs_err::remove_file(&path)
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "not removed");
        }
    }
}
