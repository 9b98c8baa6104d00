//! CreateSnapshot and CopySnapshot: snapshots that belong to no image yet.

use tokio::time::Instant;

use super::call::{Call, iso};
use super::image_create::check_description;
use super::snapshots::{NO_VOLUME, pending};
use super::tags::{TagSpecs, write_tags};
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::fleet::{Capture, Order, Part};
use crate::state::ids::Resource;
use crate::state::kms::key_arn;
use crate::state::regions::Region;
use crate::state::world::{ACCOUNT, Snapshot, SnapshotState};

/// Of a volume as it is: a machine that runs goes on, and what it has not yet written is
/// not in it.
pub(super) fn create_snapshot(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = call.params.require("VolumeId")?;
    let description = call.params.given("Description");
    check_description(description)?;
    let tags = TagSpecs::read(&call.params, &[Resource::Snapshot])?;
    if call.params.get("OutpostArn").is_some() {
        return Err(ApiError::unsupported("Outposts"));
    }
    if call.params.choice("Location", &["regional", "local"])? == Some("local") {
        return Err(ApiError::unsupported("local snapshots"));
    }
    Resource::Volume.check(id)?;
    let volume = call.state().volumes.get(id).cloned();
    let volume = volume.ok_or_else(|| Resource::Volume.not_found(id))?;
    call.commit()?;
    let snapshot = pending(
        call,
        &volume.id,
        volume.size_gib,
        volume.encrypted,
        volume.kms_key.clone(),
        description.unwrap_or_default().to_owned(),
    );
    let capture = capture(call, &snapshot, volume.disk);
    let snapshot = keep(call, snapshot, &tags);
    xml.text("snapshotId", &snapshot.id)
        .text("volumeId", &snapshot.volume)
        .text("status", snapshot.state.name())
        .text("startTime", iso(snapshot.started))
        .text("progress", "")
        .text("ownerId", &snapshot.owner)
        .text("volumeSize", snapshot.size_gib)
        .text("description", &snapshot.description)
        .text("encrypted", snapshot.encrypted);
    write_tags(xml, call.state().tags_of(&snapshot.id));
    call.order(match volume.attachment {
        // In turn with what is done to its machine.
        Some(attachment) => Order::Capture {
            instance: attachment.instance,
            capture,
        },
        None => Order::Copy(capture),
    });
    Ok(())
}

pub(super) fn copy_snapshot(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = call.params.require("SourceSnapshotId")?;
    let source_region = call.params.require("SourceRegion")?;
    let description = call.params.given("Description");
    check_description(description)?;
    let encrypted = call.params.flag("Encrypted")?.unwrap_or(false);
    let key = call.params.given("KmsKeyId");
    if key.is_some() && !encrypted {
        return Err(ApiError::new(
            "InvalidParameterDependency",
            "The parameter KmsKeyId requires the parameter Encrypted to be set.",
        ));
    }
    let kms_key = key.map(|key| key_arn(call.region.name, key)).transpose()?;
    // Clients presign the call for the other region; here it is asked directly.
    call.params.get("PresignedUrl");
    let to = call.params.get("DestinationRegion");
    if to.is_some_and(|region| region != call.region.name) {
        return Err(ApiError::invalid(
            "The destination region is not that of the request",
        ));
    }
    let tags = TagSpecs::read(&call.params, &[Resource::Snapshot])?;
    let minutes = call.params.number("CompletionDurationMinutes")?;
    super::image_copy::check_duration("completionDurationMinutes", minutes)?;
    Resource::Snapshot.check(id)?;
    let from = Region::find(source_region).ok_or_else(|| {
        ApiError::new(
            "InvalidRegion",
            format!("The region {source_region} does not exist."),
        )
    })?;
    let source = call.world.region(from.name).snapshots.get(id).cloned();
    let source = source.ok_or_else(|| Resource::Snapshot.not_found(id))?;
    let is_ours = source.owner == ACCOUNT
        || source.public
        || source.volume_accounts.iter().any(|who| who == ACCOUNT);
    if !is_ours {
        return Err(Resource::Snapshot.not_found(id));
    }
    if source.state != SnapshotState::Completed {
        return Err(ApiError::new(
            "IncorrectState",
            format!("Snapshot '{id}' is not completed"),
        ));
    }
    call.commit()?;
    let encrypted = encrypted || source.encrypted;
    let fallback = format!("[Copied {id} from {source_region}]");
    let copy = pending(
        call,
        NO_VOLUME,
        source.size_gib,
        encrypted,
        kms_key,
        description.map_or(fallback, str::to_owned),
    );
    let capture = capture(call, &copy, source.disk);
    let copy = keep(call, copy, &tags);
    xml.text("snapshotId", &copy.id);
    write_tags(xml, call.state().tags_of(&copy.id));
    call.order(Order::Copy(capture));
    Ok(())
}

fn capture(call: &Call<'_>, snapshot: &Snapshot, from: std::path::PathBuf) -> Capture {
    let due = Instant::now() + call.fleet.pace.snapshot;
    Capture {
        region: call.region.name.to_owned(),
        image: None,
        parts: vec![Part {
            from: Some(from),
            snapshot: snapshot.id.clone(),
        }],
        reboot: false,
        end: None,
        snapshot_due: due,
        image_due: due,
    }
}

fn keep(call: &mut Call<'_>, snapshot: Snapshot, tags: &TagSpecs) -> Snapshot {
    let state = call.state();
    tags.apply(state, Resource::Snapshot, &snapshot.id);
    state
        .snapshots
        .insert(snapshot.id.clone(), snapshot.clone());
    snapshot
}
