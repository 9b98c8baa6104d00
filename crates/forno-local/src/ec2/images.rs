//! DescribeImages and DeregisterImage.

use jiff::Timestamp;

use super::call::{Call, iso};
use super::tags::write_tags;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::fleet::Order;
use crate::state::ids::Resource;
use crate::state::world::{
    ACCOUNT, DEBIAN_ACCOUNT, Ebs, Image, ImageState, Protection, SnapshotState,
};

/// The one value that `imdsSupport` can have.
pub(super) const IMDS_V2: &str = "v2.0";
/// The one that `tpmSupport` can have.
pub(super) const TPM_V2: &str = "v2.0";

/// How a filter of a block device mapping is spelt.
const FILTERS: &[&str] = &[
    "architecture",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.encrypted",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "block-device-mapping.volume-type",
    "boot-mode",
    "creation-date",
    "description",
    "ena-support",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "manifest-location",
    "name",
    "owner-alias",
    "owner-id",
    "platform",
    "platform-details",
    "root-device-name",
    "root-device-type",
    "source-image-id",
    "source-image-region",
    "source-instance-id",
    "state",
    "state-reason-code",
    "state-reason-message",
    "sriov-net-support",
    "usage-operation",
    "virtualization-type",
];

pub(super) fn describe_images(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 1..=1000)?;
    let (ids, owners) = (call.params.list("ImageId"), call.params.list("Owner"));
    let executable_by = call.params.list("ExecutableBy");
    let with_deprecated = call.params.flag("IncludeDeprecated")?.unwrap_or(false);
    // No image can be disabled here, so the flag changes nothing.
    call.params.flag("IncludeDisabled")?;
    if !ids.is_empty() && page.asked() {
        return Err(ApiError::combination(
            "The parameter imageIdsSet cannot be used with the parameter maxResults",
        ));
    }
    for owner in &owners {
        let account = owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit());
        if !account && !["self", "amazon", "aws-marketplace", "aws-backup-vault"].contains(owner) {
            return Err(ApiError::new(
                "InvalidUserID.Malformed",
                format!("Invalid user id: \"{owner}\""),
            ));
        }
    }
    let (region, now) = (call.region.name, call.now);
    let state = call.state();
    for id in &ids {
        Resource::Image.check(id)?;
        if !state.images.contains_key(*id) {
            return Err(Resource::Image.not_found(id));
        }
    }
    let mut images: Vec<&Image> = state.images.values().collect();
    images.retain(|image| {
        let asked = ids.is_empty() || ids.contains(&image.id.as_str());
        let owned = owners.is_empty()
            || owners.iter().any(|owner| match *owner {
                "self" => image.owner == ACCOUNT,
                alias if alias == owner_alias(image).unwrap_or_default() => true,
                id => image.owner == id,
            });
        let launchable = executable_by.is_empty()
            || executable_by.iter().any(|user| match *user {
                "all" => image.public,
                "self" => {
                    image.owner != ACCOUNT && image.launch_accounts.iter().any(|id| id == ACCOUNT)
                }
                id => image.launch_accounts.iter().any(|account| account == id),
            });
        let outdated = image.deprecated.is_some_and(|at| at <= now) && image.owner != ACCOUNT;
        asked
            && owned
            && launchable
            && (with_deprecated || !outdated)
            && filters.select(state.tags_of(&image.id), |filter| {
                filter_values(image, filter, region)
            })
    });
    let (images, next) = page.cut(images, |image| image.id.clone());
    xml.list("imagesSet", images, |xml, image| {
        write_image(xml, image, region, now);
        write_tags(xml, state.tags_of(&image.id));
    });
    xml.maybe("nextToken", next);
    Ok(())
}

fn owner_alias(image: &Image) -> Option<&'static str> {
    (image.owner == DEBIAN_ACCOUNT).then_some("amazon")
}

fn location(image: &Image) -> String {
    format!(
        "{}/{}",
        owner_alias(image).unwrap_or(&image.owner),
        image.name
    )
}

fn architecture(image: &Image) -> &'static str {
    if image.arm { "arm64" } else { "x86_64" }
}

fn filter_values(image: &Image, filter: &str, region: &str) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    let disks = |value: fn(&str, &Ebs) -> String| {
        let volumes = image.volumes();
        volumes.map(|(device, _, ebs)| value(device, ebs)).collect()
    };
    match filter {
        "architecture" => one(architecture(image)),
        "block-device-mapping.delete-on-termination" => {
            disks(|_, ebs| ebs.delete_on_termination.to_string())
        }
        "block-device-mapping.device-name" => disks(|device, _| device.to_owned()),
        "block-device-mapping.encrypted" => disks(|_, ebs| ebs.encrypted.to_string()),
        "block-device-mapping.snapshot-id" => image.snapshots().map(str::to_owned).collect(),
        "block-device-mapping.volume-size" => disks(|_, ebs| ebs.size_gib.to_string()),
        "block-device-mapping.volume-type" => disks(|_, ebs| ebs.performance.kind.clone()),
        "boot-mode" => image.firmware.boot_mode.iter().cloned().collect(),
        "creation-date" => one(&iso(image.created)),
        "description" => image.description.iter().cloned().collect(),
        "ena-support" => one(&image.ena.to_string()),
        "hypervisor" => one("xen"),
        "image-id" => one(&image.id),
        "image-type" => one("machine"),
        "is-public" => one(&image.public.to_string()),
        "manifest-location" => one(&location(image)),
        "name" => one(&image.name),
        "owner-alias" => owner_alias(image).map(str::to_owned).into_iter().collect(),
        "owner-id" => one(&image.owner),
        "platform-details" => one("Linux/UNIX"),
        "root-device-name" => one(&image.root_device),
        "root-device-type" => one("ebs"),
        "source-image-id" => image
            .origin
            .iter()
            .map(|origin| origin.image.clone())
            .collect(),
        "source-image-region" => source_region(image, region)
            .map(str::to_owned)
            .into_iter()
            .collect(),
        "source-instance-id" => image
            .origin
            .iter()
            .filter_map(|origin| origin.instance.clone())
            .collect(),
        "state" => one(image.state.name()),
        "sriov-net-support" => one("simple"),
        "usage-operation" => one("RunInstances"),
        "virtualization-type" => one("hvm"),
        "state-reason-code" | "state-reason-message" => match &image.state {
            ImageState::Failed(reason) if filter.ends_with("code") => one(&reason.code),
            ImageState::Failed(reason) => one(&reason.message),
            _ => Vec::new(),
        },
        // `platform` is Windows or nothing.
        _ => Vec::new(),
    }
}

/// Where the image lies that it was made from.
fn source_region<'a>(image: &'a Image, region: &'a str) -> Option<&'a str> {
    let origin = image.origin.as_ref()?;
    Some(origin.region.as_deref().unwrap_or(region))
}

/// Its protection against deregistration, in EC2's words.
pub(super) fn protection(image: &Image, now: Timestamp) -> &'static str {
    match image.protection {
        Protection::Enabled {
            with_cooldown: true,
        } => "enabled-with-cooldown",
        Protection::Enabled {
            with_cooldown: false,
        } => "enabled-without-cooldown",
        Protection::Cooling { .. } if image.protection.holds(now) => "enabled-with-cooldown",
        Protection::Disabled | Protection::Cooling { .. } => "disabled",
    }
}

fn write_image(xml: &mut Xml, image: &Image, region: &str, now: Timestamp) {
    xml.text("platformDetails", "Linux/UNIX")
        .text("usageOperation", "RunInstances")
        .list(
            "blockDeviceMapping",
            image.volumes(),
            |xml, (device, snapshot, ebs)| {
                xml.text("deviceName", device).group("ebs", |xml| {
                    xml.text("deleteOnTermination", ebs.delete_on_termination)
                        .maybe("iops", ebs.performance.iops)
                        .maybe("snapshotId", snapshot)
                        .text("volumeSize", ebs.size_gib)
                        .text("volumeType", &ebs.performance.kind)
                        .maybe("throughput", ebs.performance.throughput)
                        .text("encrypted", ebs.encrypted);
                });
            },
        )
        .maybe("description", image.description.as_ref())
        .text("enaSupport", image.ena)
        .text("hypervisor", "xen")
        .maybe("imageOwnerAlias", owner_alias(image))
        .text("name", &image.name)
        .text("rootDeviceName", &image.root_device)
        .text("rootDeviceType", "ebs")
        .text("sriovNetSupport", "simple");
    if let ImageState::Failed(reason) = &image.state {
        xml.group("stateReason", |xml| {
            xml.text("code", &reason.code)
                .text("message", &reason.message);
        });
    }
    xml.text("virtualizationType", "hvm")
        .maybe("bootMode", image.firmware.boot_mode.as_ref())
        .maybe("tpmSupport", image.firmware.tpm.then_some(TPM_V2))
        .maybe("imdsSupport", image.imds_v2.then_some(IMDS_V2))
        .maybe("deprecationTime", image.deprecated.map(iso))
        .maybe(
            "sourceInstanceId",
            image
                .origin
                .as_ref()
                .and_then(|origin| origin.instance.as_ref()),
        )
        .text("deregistrationProtection", protection(image, now))
        .maybe(
            "sourceImageId",
            image.origin.as_ref().map(|origin| &origin.image),
        )
        .maybe("sourceImageRegion", source_region(image, region))
        .text("imageId", &image.id)
        .text("imageLocation", location(image))
        .text("imageState", image.state.name())
        .text("imageOwnerId", &image.owner)
        .text("creationDate", iso(image.created))
        .text("isPublic", image.public)
        .text("architecture", architecture(image))
        .text("imageType", "machine");
}

/// An image of this account, by the id that a changing call names.
pub(super) fn own_image<'w>(call: &'w mut Call<'_>) -> Result<&'w Image, ApiError> {
    let id = call.params.require("ImageId")?;
    Resource::Image.check(id)?;
    let state = call.state();
    let image = match state.images.get(id) {
        Some(image) => image,
        None if state.deregistered.contains_key(id) => return Err(unavailable(id)),
        None => return Err(Resource::Image.not_found(id)),
    };
    if image.owner == ACCOUNT {
        Ok(image)
    } else {
        Err(
            ApiError::new("AuthFailure", format!("Not authorized for image:{id}"))
                .with_status(http::StatusCode::FORBIDDEN),
        )
    }
}

/// The refusal of an image that was, or is not yet.
pub(super) fn unavailable(id: &str) -> ApiError {
    ApiError::new(
        "InvalidAMIID.Unavailable",
        format!("The image ID '{id}' is no longer available"),
    )
}

pub(super) fn deregister_image(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let now = call.now;
    let image = own_image(call)?.clone();
    if image.protection.holds(now) {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!("The AMI {} is protected against deregistration", image.id),
        ));
    }
    let with_snapshots = call
        .params
        .flag("DeleteAssociatedSnapshots")?
        .unwrap_or(false);
    call.commit()?;
    let state = call.state();
    state.images.remove(&image.id);
    state.tags.remove(&image.id);
    state.deregistered.insert(image.id.clone(), now);
    xml.text("return", true);
    if !with_snapshots {
        return Ok(());
    }
    let mut results = Vec::new();
    for id in image.snapshots() {
        let state = call.state();
        let shared = state.images.values().any(|other| other.stands_on(id));
        let removed = if shared {
            None
        } else {
            state.snapshots.remove(id)
        };
        results.push((
            id,
            if removed.is_some() {
                "success"
            } else {
                "skipped"
            },
        ));
        if let Some(removed) = removed {
            state.tags.remove(id);
            if matches!(removed.state, SnapshotState::Pending { .. }) {
                call.order(Order::Abandon {
                    snapshot: id.to_owned(),
                });
            }
            call.order(Order::RemoveDisk { disk: removed.disk });
        }
    }
    xml.list("deleteSnapshotResultSet", results, |xml, (id, code)| {
        xml.text("snapshotId", id).text("returnCode", code);
    });
    Ok(())
}
