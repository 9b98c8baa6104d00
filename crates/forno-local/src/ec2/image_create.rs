//! CreateImage: an image that is pending until the disks of its snapshots are copied.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::call::Call;
use super::run_disk::{Disk, Disks, Ground, read_mappings};
use super::snapshots::pending;
use super::tags::TagSpecs;
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::fleet::{Capture, Order, Part};
use crate::state::ids::Resource;
use crate::state::world::{
    ACCOUNT, Attachment, Ebs, Image, ImageRoot, ImageState, ImageVolume, InstanceState, Origin,
    Protection, RegionState, Volume,
};

/// What EC2 lets a name be.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidAMIName.Malformed",
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', \
         '/' and '_'",
    ))
}

pub(super) fn check_description(description: Option<&str>) -> Result<(), ApiError> {
    match description {
        Some(text) if text.chars().count() > 255 => Err(ApiError::invalid(
            "Description must be no longer than 255 characters",
        )),
        _ => Ok(()),
    }
}

/// No two images of an account and region have one name.
pub(super) fn name_is_free(state: &RegionState, name: &str) -> Result<(), ApiError> {
    match state
        .images
        .values()
        .find(|image| image.owner == ACCOUNT && image.name == name)
    {
        None => Ok(()),
        Some(taken) => Err(ApiError::new(
            "InvalidAMIName.Duplicate",
            format!("AMI name {name} is already in use by AMI {}", taken.id),
        )),
    }
}

pub(super) fn create_image(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let instance_id = call.params.require("InstanceId")?;
    let name = call.params.require("Name")?;
    let description = call.params.given("Description");
    let no_reboot = call.params.flag("NoReboot")?.unwrap_or(false);
    let tags = TagSpecs::read(&call.params, &[Resource::Image, Resource::Snapshot])?;
    if call
        .params
        .get("SnapshotLocation")
        .is_some_and(|place| place != "regional")
    {
        return Err(ApiError::unsupported("local snapshots"));
    }
    check_name(name)?;
    check_description(description)?;
    Resource::Instance.check(instance_id)?;
    let params = call.params.clone();
    let region_name = call.region.name;
    let state = call.state();
    let instance = state
        .instances
        .get(instance_id)
        .ok_or_else(|| Resource::Instance.not_found(instance_id))?
        .clone();
    if !matches!(
        instance.state,
        InstanceState::Running | InstanceState::Stopped | InstanceState::Stopping
    ) {
        return Err(ApiError::new(
            "IncorrectInstanceState",
            format!(
                "Instance '{instance_id}' is not in a state from which an image can be created ({})",
                instance.state.name()
            ),
        ));
    }
    name_is_free(state, name)?;
    let attached = state.volumes_of(&instance).into_iter();
    let mut further: BTreeMap<String, Disk> = attached
        .map(|(volume, attachment)| (attachment.device.clone(), captured(volume, attachment)))
        .collect();
    let root = further
        .remove(&instance.root_device)
        .ok_or_else(|| ApiError::internal("the instance has no root volume"))?;
    let ground = Ground {
        region: region_name,
        snapshots: &state.snapshots,
        root_device: &instance.root_device,
    };
    let disks = read_mappings(&params, ground, Disks { root, further })?;
    for disk in std::iter::once(&disks.root).chain(disks.further.values()) {
        if let Some(volume) = disk.from.as_ref().and_then(|id| state.volumes.get(id))
            && (disk.ebs.encrypted, &disk.ebs.kms_key) != (volume.encrypted, &volume.kms_key)
        {
            return Err(ApiError::combination(
                "CreateImage cannot change the encryption of a volume",
            ));
        }
    }
    call.commit()?;
    let image_id = Resource::Image.fresh();
    let description_of_snapshot = format!("Created by CreateImage({instance_id}) for {image_id}");
    let mut parts = Vec::new();
    let mut snapshot_of = |call: &mut Call<'_>, from: &str| {
        let volume = call.state().volumes.get(from)?.clone();
        let snapshot = pending(
            call,
            &volume.id,
            volume.size_gib,
            volume.encrypted,
            volume.kms_key.clone(),
            description_of_snapshot.clone(),
        );
        let id = snapshot.id.clone();
        parts.push(Part {
            from: Some(volume.disk),
            snapshot: id.clone(),
        });
        let state = call.state();
        tags.apply(state, Resource::Snapshot, &id);
        state.snapshots.insert(id.clone(), snapshot);
        Some(id)
    };
    let root = ImageRoot {
        snapshot: disks
            .root
            .from
            .and_then(|from| snapshot_of(call, &from))
            .ok_or_else(|| ApiError::internal("the root volume is gone"))?,
        ebs: disks.root.ebs,
    };
    let mut further = BTreeMap::new();
    for (device, Disk { from, ebs }) in disks.further {
        // What is no volume of the instance is a snapshot that the call named.
        let snapshot = from.map(|from| snapshot_of(call, &from).unwrap_or(from));
        further.insert(device, ImageVolume { snapshot, ebs });
    }
    let (now, region) = (call.now, call.region.name.to_owned());
    let pace = call.fleet.pace;
    let state = call.state();
    let image = Image {
        id: image_id.clone(),
        name: name.to_owned(),
        description: description.map(str::to_owned),
        owner: ACCOUNT.to_owned(),
        state: ImageState::Pending,
        created: now,
        deprecated: None,
        arm: instance.arm,
        root_device: instance.root_device.clone(),
        root,
        further,
        origin: Some(Origin {
            instance: Some(instance_id.to_owned()),
            image: instance.image.clone(),
            region: None,
        }),
        public: false,
        launch_accounts: Vec::new(),
        launch_organizations: Vec::new(),
        protection: Protection::default(),
        imds_v2: false,
        firmware: instance.firmware.clone(),
        ena: true,
        copied_by: None,
    };
    state.images.insert(image_id.clone(), image);
    tags.apply(state, Resource::Image, &image_id);
    xml.text("imageId", &image_id);
    let snapshot_due = Instant::now() + pace.snapshot;
    let capture = Capture {
        region,
        image: Some(image_id),
        parts,
        reboot: !no_reboot,
        end: None,
        snapshot_due,
        image_due: snapshot_due + pace.image,
    };
    call.order(Order::Capture {
        instance: instance_id.to_owned(),
        capture,
    });
    Ok(())
}

/// A volume of the instance as the image would have it.
fn captured(volume: &Volume, attachment: &Attachment) -> Disk {
    Disk {
        from: Some(volume.id.clone()),
        ebs: Ebs {
            size_gib: volume.size_gib,
            delete_on_termination: attachment.delete_on_termination,
            performance: volume.performance.clone(),
            encrypted: volume.encrypted,
            kms_key: volume.kms_key.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names() {
        for good in ["abc", "worker 2026-11-22 (1)", "a/b_c.d@e'[f]"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "a:b:c", "ümlaut", &"x".repeat(129)] {
            assert_eq!(
                check_name(bad).unwrap_err().code(),
                "InvalidAMIName.Malformed",
                "{bad}"
            );
        }
    }
}
