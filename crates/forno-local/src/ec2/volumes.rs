//! Volumes: made by RunInstances, shown here, deleted here when they were to
//! outlive their instance.

use super::call::{Call, iso};
use super::tags::write_tags;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::fleet::Order;
use crate::state::ids::Resource;
use crate::state::kms::key_of;
use crate::state::world::{Attachment, Volume};

const FILTERS: &[&str] = &[
    "attachment.attach-time",
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "create-time",
    "encrypted",
    "multi-attach-enabled",
    "size",
    "snapshot-id",
    "status",
    "volume-id",
    "volume-type",
];

pub(super) fn describe_volumes(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let ids = call.params.list("VolumeId");
    call.params.flag("IncludeManagedResources")?;
    if !ids.is_empty() && page.asked() {
        return Err(ApiError::combination(
            "The parameter volumesSet cannot be used with the parameter maxResults",
        ));
    }
    let region = call.region;
    let state = call.state();
    for id in &ids {
        Resource::Volume.check(id)?;
        if !state.volumes.contains_key(*id) {
            return Err(Resource::Volume.not_found(id));
        }
    }
    let mut volumes: Vec<&Volume> = state.volumes.values().collect();
    volumes.retain(|volume| {
        (ids.is_empty() || ids.contains(&volume.id.as_str()))
            && filters.select(state.tags_of(&volume.id), |filter| {
                filter_values(volume, filter)
            })
    });
    let (volumes, next) = page.cut(volumes, |volume| volume.id.clone());
    xml.list("volumeSet", volumes, |xml, volume| {
        xml.maybe(
            "availabilityZoneId",
            region
                .zone(&volume.zone)
                .map(crate::state::regions::Zone::id),
        )
        .maybe("iops", volume.performance.iops);
        write_tags(xml, state.tags_of(&volume.id));
        xml.text("volumeType", &volume.performance.kind)
            .text("multiAttachEnabled", false)
            .maybe("throughput", volume.performance.throughput)
            .text("volumeId", &volume.id)
            .text("size", volume.size_gib)
            .text("snapshotId", volume.snapshot.as_deref().unwrap_or_default())
            .text("availabilityZone", &volume.zone)
            .text("status", status(volume))
            .text("createTime", iso(volume.created))
            .list("attachmentSet", &volume.attachment, |xml, attachment| {
                write_attachment(xml, volume, attachment);
            })
            .text("encrypted", volume.encrypted)
            .maybe(
                "kmsKeyId",
                key_of(region.name, volume.encrypted, volume.kms_key.as_ref()),
            );
    });
    xml.maybe("nextToken", next);
    Ok(())
}

fn status(volume: &Volume) -> &'static str {
    if volume.attachment.is_some() {
        "in-use"
    } else {
        "available"
    }
}

fn write_attachment(xml: &mut Xml, volume: &Volume, attachment: &Attachment) {
    xml.text("deleteOnTermination", attachment.delete_on_termination)
        .text("volumeId", &volume.id)
        .text("instanceId", &attachment.instance)
        .text("device", &attachment.device)
        .text("status", "attached")
        .text("attachTime", iso(attachment.at));
}

fn filter_values(volume: &Volume, filter: &str) -> Vec<String> {
    let attached = |value: fn(&Attachment) -> String| volume.attachment.iter().map(value).collect();
    match filter {
        "attachment.attach-time" => attached(|attachment| iso(attachment.at)),
        "attachment.delete-on-termination" => {
            attached(|attachment| attachment.delete_on_termination.to_string())
        }
        "attachment.device" => attached(|attachment| attachment.device.clone()),
        "attachment.instance-id" => attached(|attachment| attachment.instance.clone()),
        "attachment.status" => attached(|_| "attached".to_owned()),
        "availability-zone" => vec![volume.zone.clone()],
        "create-time" => vec![iso(volume.created)],
        "encrypted" => vec![volume.encrypted.to_string()],
        "multi-attach-enabled" => vec!["false".to_owned()],
        "size" => vec![volume.size_gib.to_string()],
        "snapshot-id" => volume.snapshot.iter().cloned().collect(),
        "status" => vec![status(volume).to_owned()],
        "volume-type" => vec![volume.performance.kind.clone()],
        _ => vec![volume.id.clone()],
    }
}

pub(super) fn delete_volume(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = call.params.require("VolumeId")?;
    Resource::Volume.check(id)?;
    let state = call.state();
    let volume = state
        .volumes
        .get(id)
        .ok_or_else(|| Resource::Volume.not_found(id))?;
    if let Some(attachment) = &volume.attachment {
        return Err(ApiError::new(
            "VolumeInUse",
            format!(
                "Volume {id} is currently attached to {}",
                attachment.instance
            ),
        ));
    }
    let disk = volume.disk.clone();
    call.commit()?;
    let state = call.state();
    state.volumes.remove(id);
    state.tags.remove(id);
    call.order(Order::RemoveDisk { disk });
    xml.text("return", true);
    Ok(())
}
