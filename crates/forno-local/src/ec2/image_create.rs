//! CreateImage: an image that is pending until its snapshot's disk is copied.

use tokio::time::Instant;

use super::call::Call;
use super::run_disk::{RootRequest, read_mappings};
use super::tags::TagSpecs;
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::fleet::{Capture, Order};
use crate::state::ids::Resource;
use crate::state::world::{
    ACCOUNT, Image, ImageRoot, ImageState, InstanceState, Origin, Protection, RegionState,
    Snapshot, SnapshotState,
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
    if description.is_some_and(|text| text.chars().count() > 255) {
        return Err(ApiError::invalid(
            "Description must be no longer than 255 characters",
        ));
    }
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
    let volume = state
        .volumes
        .get(&instance.root_volume)
        .ok_or_else(|| ApiError::internal("the instance has no root volume"))?
        .clone();
    let attached = volume
        .attachment
        .as_ref()
        .is_none_or(|attachment| attachment.delete_on_termination);
    let known = RootRequest {
        size_gib: volume.size_gib,
        delete_on_termination: attached,
        performance: volume.performance.clone(),
        encrypted: volume.encrypted,
        kms_key: volume.kms_key.clone(),
    };
    let root = read_mappings(
        &params,
        region_name,
        &instance.root_device,
        &volume.id,
        known,
    )?;
    if root.encrypted != volume.encrypted || root.kms_key != volume.kms_key {
        return Err(ApiError::combination(
            "CreateImage cannot change the encryption of a volume",
        ));
    }
    call.commit()?;
    let (image_id, snapshot_id) = (Resource::Image.fresh(), Resource::Snapshot.fresh());
    let disk = call.fleet.folder.disks().join(format!("{snapshot_id}.raw"));
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
        root: ImageRoot {
            snapshot: snapshot_id.clone(),
            size_gib: root.size_gib,
            delete_on_termination: root.delete_on_termination,
            performance: root.performance,
            encrypted: root.encrypted,
            kms_key: root.kms_key,
        },
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
        copied_by: None,
    };
    let snapshot = Snapshot {
        id: snapshot_id.clone(),
        owner: ACCOUNT.to_owned(),
        description: format!("Created by CreateImage({instance_id}) for {image_id}"),
        volume: volume.id,
        size_gib: volume.size_gib,
        encrypted: volume.encrypted,
        kms_key: volume.kms_key.clone(),
        state: SnapshotState::Pending { percent: 0 },
        started: now,
        completed: None,
        due: now.checked_add(pace.snapshot).unwrap_or(now),
        disk,
        volume_accounts: Vec::new(),
        public: false,
    };
    state.images.insert(image_id.clone(), image);
    state.snapshots.insert(snapshot_id.clone(), snapshot);
    tags.apply(state, Resource::Image, &image_id);
    tags.apply(state, Resource::Snapshot, &snapshot_id);
    xml.text("imageId", &image_id);
    let snapshot_due = Instant::now() + pace.snapshot;
    let capture = Capture {
        region,
        image: image_id,
        snapshot: snapshot_id,
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
