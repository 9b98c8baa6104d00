//! The volumes of machines and of the image, from what the recipe says and what an image
//! has.
//!
//! Every volume of a machine goes with it, also those that its image would let stay: a bake
//! must leave none behind.

use forno_aws::{Image, Volume, VolumeType, Volumes};
use forno_recipe::{DataVolume, Disk, Recipe};

use super::prepare::Prepared;
use crate::bake::OfImage;
use crate::{Error, ErrorKind};

impl Prepared {
    /// Those of a machine of this recipe: the builder has what the recipe says, a test
    /// machine what its image has.
    pub(crate) fn volumes(&self, image: &Image) -> Volumes {
        let builder = &self.recipe.builder;
        let mut volumes = Volumes::default();
        volumes.with.extend(root(&builder.disk, image));
        let named: &[DataVolume] = if image.id == self.source.id {
            &builder.volumes
        } else {
            &[]
        };
        for volume in named {
            if volume.no_device {
                volumes.without.push(volume.device.clone());
            } else {
                volumes.with.push(data(volume));
            }
        }
        let others = data_devices(image)
            .filter(|device| named.iter().all(|volume| volume.device != *device));
        volumes.with.extend(others.map(|device| Volume {
            device: device.to_owned(),
            ..Volume::default()
        }));
        volumes
    }

    /// In what those of the image are not as the builder's.
    pub(crate) fn image_volumes(&self) -> Volumes {
        let mut volumes = Volumes::default();
        volumes.with.extend(self.image_root());
        for volume in &self.recipe.builder.volumes {
            if volume.no_device {
                continue;
            }
            if !volume.in_image {
                volumes.without.push(volume.device.clone());
            } else if !volume.delete_on_termination {
                volumes.with.push(Volume {
                    device: volume.device.clone(),
                    outlives_instance: true,
                    ..Volume::default()
                });
            }
        }
        volumes
    }

    /// The volumes of an image that is registered, each with its snapshot. Sizes and encryption
    /// are those of the snapshots.
    pub(crate) fn registered_volumes(&self, snapshots: &[OfImage]) -> Volumes {
        let with = snapshots.iter().map(
            |OfImage {
                 device, snapshot, ..
             }| Volume {
                size_gib: None,
                encrypted: None,
                kms_key: None,
                snapshot: Some(snapshot.clone()),
                ..self.registered_volume(device)
            },
        );
        Volumes {
            with: with.collect(),
            without: Vec::new(),
        }
    }

    fn registered_volume(&self, device: &str) -> Volume {
        let builder = &self.recipe.builder;
        if self.source.root_device.as_deref() == Some(device) {
            let own = self.image_root();
            return own
                .or_else(|| root(&builder.disk, &self.source))
                .unwrap_or_default();
        }
        let mut named = builder.volumes.iter();
        if let Some(volume) = named.find(|volume| volume.device == device) {
            return Volume {
                outlives_instance: !volume.delete_on_termination,
                ..data(volume)
            };
        }
        let mut known = self.source.block_devices.iter();
        let known = known.find(|known| known.device == device);
        Volume {
            device: device.to_owned(),
            volume_type: known.and_then(|known| known.volume_type),
            iops: known.and_then(|known| known.iops),
            throughput: known.and_then(|known| known.throughput),
            outlives_instance: known.is_some_and(|known| known.outlives_instance),
            ..Volume::default()
        }
    }

    /// Where the builder has volumes, besides the root, that come into the image.
    pub(crate) fn data_devices_of_image(&self) -> impl Iterator<Item = &str> {
        let named = &self.recipe.builder.volumes;
        let of_source = data_devices(&self.source)
            .filter(|device| named.iter().all(|volume| volume.device != *device));
        let of_recipe = named
            .iter()
            .filter(|volume| volume.in_image && !volume.no_device)
            .map(|volume| volume.device.as_str());
        of_source.chain(of_recipe)
    }

    /// The root volume that machines of the image get. What the recipe does not say is
    /// EC2's default, said here all the same: EC2 would take it from the builder's disk.
    fn image_root(&self) -> Option<Volume> {
        const GP3: (u32, u32) = (3000, 125);
        let disk = self.recipe.disk.as_ref()?;
        let kind = volume_type(disk.r#type);
        let is_gp3 = kind == VolumeType::Gp3;
        Some(Volume {
            device: self.source.root_device.clone()?,
            volume_type: Some(kind),
            iops: disk.iops.or(is_gp3.then_some(GP3.0)),
            throughput: disk.throughput.or(is_gp3.then_some(GP3.1)),
            ..Volume::default()
        })
    }
}

/// The root volume of a machine.
fn root(disk: &Disk, image: &Image) -> Option<Volume> {
    Some(Volume {
        device: image.root_device.clone()?,
        size_gib: disk.size.and_then(gib),
        volume_type: Some(volume_type(disk.r#type)),
        iops: disk.iops,
        throughput: disk.throughput,
        encrypted: disk.encrypted.then_some(true),
        kms_key: disk.kms_key_id.clone(),
        ..Volume::default()
    })
}

fn data(volume: &DataVolume) -> Volume {
    Volume {
        device: volume.device.clone(),
        size_gib: volume.size.and_then(gib),
        volume_type: Some(volume_type(volume.r#type)),
        iops: volume.iops,
        throughput: volume.throughput,
        encrypted: volume.encrypted.then_some(true),
        kms_key: volume.kms_key_id.clone(),
        // What is no id was told when the recipe was checked.
        snapshot: volume.snapshot_id.as_deref().and_then(|id| id.parse().ok()),
        outlives_instance: false,
    }
}

fn gib(size: forno_recipe::Size) -> Option<u32> {
    size.whole_gib().and_then(|gib| u32::try_from(gib).ok())
}

/// Where an image has volumes besides the root.
fn data_devices(image: &Image) -> impl Iterator<Item = &str> {
    let devices = image.block_devices.iter().map(|one| one.device.as_str());
    devices.filter(|device| Some(*device) != image.root_device.as_deref())
}

/// Whether the source image can be the start of what the recipe says about volumes.
pub(super) fn fit(recipe: &Recipe, image: &Image) -> Result<(), Error> {
    let problem =
        |text: String, hint: &str| Err(Error::new(ErrorKind::Preflight(text)).with_hint(hint));
    for volume in &recipe.builder.volumes {
        let device = volume.device.as_str();
        if image.root_device.as_deref() == Some(device) {
            return problem(
                format!(
                    "builder.volumes has {device}, which is the root device of {}",
                    image.id
                ),
                "the root volume is builder.disk",
            );
        }
        let known = image.block_devices.iter().find(|one| one.device == device);
        let Some(known) = known else {
            if volume.no_device {
                return problem(
                    format!("{} has no volume at {device} to be left out", image.id),
                    "leave that entry of builder.volumes out",
                );
            }
            if volume.size.is_none() && volume.snapshot_id.is_none() {
                return problem(
                    format!(
                        "the volume at {device} has no size, and {} has none there",
                        image.id
                    ),
                    "set `size` or `snapshot_id` in that entry of builder.volumes",
                );
            }
            continue;
        };
        if volume.snapshot_id.is_some() {
            return problem(
                format!("{} has a volume at {device} already", image.id),
                "a volume of snapshot_id needs a device of its own",
            );
        }
        if let (Some(wanted), Some(least)) = (volume.size.and_then(gib), known.size_gib)
            && wanted < least
        {
            return problem(
                format!(
                    "the volume at {device} is to have {wanted}GiB, but that of {} has {least}GiB",
                    image.id
                ),
                "a volume can only grow; set a larger size in builder.volumes",
            );
        }
    }
    Ok(())
}

/// Devices of the image that would be encrypted as the source image is, with whatever key.
pub(super) fn encrypted_by_source<'a>(
    recipe: &'a Recipe,
    source: &'a Image,
) -> impl Iterator<Item = &'a str> {
    let builder = &recipe.builder;
    let encrypted = source.block_devices.iter().filter(|one| one.encrypted);
    encrypted
        .map(|one| one.device.as_str())
        .filter(move |device| {
            if source.root_device.as_deref() == Some(*device) {
                return !builder.disk.encrypted;
            }
            let named = builder.volumes.iter().find(|one| one.device == *device);
            named.is_none_or(|one| !one.encrypted && one.in_image && !one.no_device)
        })
}

/// The gateway's word for the recipe's.
const fn volume_type(of: forno_recipe::VolumeType) -> VolumeType {
    match of {
        forno_recipe::VolumeType::Gp3 => VolumeType::Gp3,
        forno_recipe::VolumeType::Gp2 => VolumeType::Gp2,
        forno_recipe::VolumeType::Io1 => VolumeType::Io1,
        forno_recipe::VolumeType::Io2 => VolumeType::Io2,
        forno_recipe::VolumeType::Standard => VolumeType::Standard,
        forno_recipe::VolumeType::St1 => VolumeType::St1,
        forno_recipe::VolumeType::Sc1 => VolumeType::Sc1,
    }
}
