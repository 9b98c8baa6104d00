//! The public Debian image: made (or found in the cache) at the start and put
//! where Debian's own would be found on AWS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forno_machine::source::{self, Mirror, SourceConfig};
use forno_machine::{Kind, disk};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Progress};
use crate::ec2::NO_VOLUME;
use crate::error::Error;
use crate::state::folder::Folder;
use crate::state::ids::Resource;
use crate::state::world::{
    DEBIAN_ACCOUNT, Ebs, Firmware, Format, Image, ImageRoot, ImageState, Performance, Protection,
    Snapshot, SnapshotState, World,
};

/// Debian's root volume on AWS.
const DEBIAN_GIB: u32 = 8;
/// The name under which the empty disk of stubs is found.
const STUB_NAME: &str = "debian-12-amd64-20260101-0001";

/// The disk of the public image.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    disk: PathBuf,
    size_gib: u32,
    format: Format,
}

impl Source {
    /// Makes the disk, or finds it.
    pub(crate) async fn make(
        config: &Config,
        folder: &Folder,
        kind: Kind,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Self, Error> {
        let failed =
            |source: forno_machine::Error| Error::machine("make the Debian source image", source);
        if kind == Kind::Stub {
            let disk = folder.disks().join("stub-source.raw");
            if !disk.exists() {
                disk::make_stub_disk(&disk).map_err(failed)?;
            }
            return Ok(Self {
                name: STUB_NAME.to_owned(),
                disk,
                size_gib: DEBIAN_GIB,
                format: Format::Stub,
            });
        }
        let wanted = SourceConfig {
            cache_dir: config.cache_dir.clone(),
            mirror: config.mirror.clone().map(|archive| Mirror {
                archive,
                security: None,
            }),
            ca_bundle: config.ca_bundle.clone(),
        };
        // Dropping the future of the start gives up the making as well.
        let cancel = CancellationToken::new();
        let _guard = cancel.clone().drop_guard();
        let made = source::make_debian_disk(&wanted, &|step| progress(tell(&step)), &cancel)
            .await
            .map_err(failed)?;
        let size_gib = u32::try_from(made.size_bytes.div_ceil(1 << 30))
            .unwrap_or(u32::MAX)
            .max(DEBIAN_GIB);
        Ok(Self {
            name: made.name(),
            disk: made.path,
            size_gib,
            format: Format::Raw,
        })
    }

    /// Puts the image into its region. Earlier ones stay as long as their
    /// disks do.
    pub(crate) fn register(
        self,
        world: &mut World,
        region: &str,
        folder: &Path,
        now: Timestamp,
    ) -> Result<(), Error> {
        if world.format.is_some_and(|format| format != self.format)
            && world.regions.values().any(|region| {
                region
                    .images
                    .values()
                    .any(|image| image.owner != DEBIAN_ACCOUNT)
            })
        {
            return Err(Error::OtherDisks {
                folder: folder.to_owned(),
                wanted: self.format.name(),
            });
        }
        for region in world.regions.values_mut() {
            let stale: Vec<(String, String)> = region
                .images
                .values()
                .filter(|image| image.owner == DEBIAN_ACCOUNT)
                .filter(|image| {
                    world.format != Some(self.format)
                        || region
                            .snapshots
                            .get(&image.root.snapshot)
                            .is_none_or(|snapshot| !snapshot.disk.exists())
                })
                .map(|image| (image.id.clone(), image.root.snapshot.clone()))
                .collect();
            for (image, snapshot) in stale {
                region.images.remove(&image);
                region.snapshots.remove(&snapshot);
            }
        }
        world.format = Some(self.format);
        let state = world.region(region);
        let content = format!("{region} {}", self.name);
        let (id, snapshot_id) = (
            Resource::Image.derived(&content),
            Resource::Snapshot.derived(&content),
        );
        state.source = Some(id.clone());
        let created = state.images.get(&id).map_or(now, |image| image.created);
        let build = self.name.trim_start_matches("debian-12-amd64-").to_owned();
        state.snapshots.insert(
            snapshot_id.clone(),
            Snapshot {
                id: snapshot_id.clone(),
                owner: DEBIAN_ACCOUNT.to_owned(),
                description: self.name.clone(),
                volume: NO_VOLUME.to_owned(),
                lineage: Some(snapshot_id.clone()),
                size_gib: self.size_gib,
                encrypted: false,
                kms_key: None,
                state: SnapshotState::Completed,
                started: created,
                completed: Some(created),
                due: created,
                disk: self.disk,
                volume_accounts: Vec::new(),
                public: true,
            },
        );
        state.images.insert(
            id.clone(),
            Image {
                id,
                name: self.name,
                description: Some(format!("Debian 12 ({build})")),
                owner: DEBIAN_ACCOUNT.to_owned(),
                state: ImageState::Available,
                created,
                deprecated: None,
                arm: false,
                root_device: "/dev/xvda".to_owned(),
                root: ImageRoot {
                    snapshot: snapshot_id,
                    ebs: Ebs {
                        size_gib: self.size_gib,
                        delete_on_termination: true,
                        performance: Performance::gp3(),
                        encrypted: false,
                        kms_key: None,
                    },
                },
                further: BTreeMap::new(),
                origin: None,
                launch_organizations: Vec::new(),
                protection: Protection::default(),
                imds_v2: false,
                firmware: Firmware::default(),
                ena: true,
                copied_by: None,
                public: true,
                launch_accounts: Vec::new(),
            },
        );
        Ok(())
    }
}

fn tell(step: &source::Progress) -> Progress {
    use source::Progress as Step;
    let (message, fraction) = match step {
        Step::Resolving => (
            "asking apt for the packages of the source image".to_owned(),
            None,
        ),
        Step::WaitingForOther => (
            "waiting for another process that makes the same source image".to_owned(),
            None,
        ),
        Step::Packages { done, total } => {
            #[expect(clippy::cast_precision_loss, reason = "a bar needs no more")]
            let fraction = (*total > 0).then(|| *done as f32 / *total as f32);
            (
                format!("installing packages of the source image ({done} of {total})"),
                fraction,
            )
        }
        Step::Configuring => ("laying down settings of the source image".to_owned(), None),
        Step::Packing => ("packing the source image into a disk".to_owned(), None),
        Step::Cached => ("the source image is in the cache".to_owned(), Some(1.0)),
        Step::Done => ("the source image is made".to_owned(), Some(1.0)),
        other => (format!("{other:?}"), None),
    };
    Progress { message, fraction }
}
