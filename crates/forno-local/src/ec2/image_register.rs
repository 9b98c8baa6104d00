//! RegisterImage: an image of snapshots that are there, available at once.

use std::collections::BTreeMap;

use super::call::Call;
use super::image_create::{check_description, check_name, name_is_free};
use super::images::{IMDS_V2, TPM_V2};
use super::run_disk::{Disk, Disks, Ground, malformed, new_disk, read_mappings};
use super::tags::TagSpecs;
use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::world::{
    ACCOUNT, Firmware, Image, ImageRoot, ImageState, ImageVolume, Protection,
};

pub(super) fn register_image(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let params = call.params.clone();
    let name = params.require("Name")?;
    let description = params.given("Description");
    check_name(name)?;
    check_description(description)?;
    for (parameter, what) in [
        ("ImageLocation", "images in S3"),
        ("KernelId", "kernels of EC2's own"),
        ("RamdiskId", "ramdisks of EC2's own"),
        ("BillingProduct", "billing products"),
    ] {
        if params.get(parameter).is_some() || !params.list(parameter).is_empty() {
            return Err(ApiError::unsupported(what));
        }
    }
    if params.choice("VirtualizationType", &["hvm", "paravirtual"])? != Some("hvm") {
        // EC2's default, with which nothing of today boots.
        return Err(ApiError::unsupported("paravirtual images"));
    }
    let arm = match params.choice("Architecture", &["i386", "x86_64", "arm64"])? {
        Some("x86_64") => false,
        Some("arm64") => true,
        _ => return Err(ApiError::unsupported("images for i386")),
    };
    let root_device = params.require("RootDeviceName")?;
    params.choice("SriovNetSupport", &["simple"])?;
    let ena = params.flag("EnaSupport")?.unwrap_or(false);
    let imds_v2 = params.choice("ImdsSupport", &[IMDS_V2])?.is_some();
    let firmware = firmware(&params, arm)?;
    let tags = TagSpecs::read(&params, &[Resource::Image])?;
    let region = call.region.name;
    let state = call.state();
    name_is_free(state, name)?;
    let ground = Ground {
        region,
        snapshots: &state.snapshots,
        root_device,
    };
    let Disks { root, further } = disks(&params, ground)?;
    let snapshot = root
        .from
        .ok_or_else(|| malformed(no_snapshot(root_device)))?;
    call.commit()?;
    let id = Resource::Image.fresh();
    let further = further.into_iter().map(|(device, Disk { from, ebs })| {
        let volume = ImageVolume {
            snapshot: from,
            ebs,
        };
        (device, volume)
    });
    let image = Image {
        id: id.clone(),
        name: name.to_owned(),
        description: description.map(str::to_owned),
        owner: ACCOUNT.to_owned(),
        state: ImageState::Available,
        created: call.now,
        deprecated: None,
        arm,
        root_device: root_device.to_owned(),
        root: ImageRoot {
            snapshot,
            ebs: root.ebs,
        },
        further: further.collect(),
        origin: None,
        public: false,
        launch_accounts: Vec::new(),
        launch_organizations: Vec::new(),
        protection: Protection::default(),
        imds_v2,
        firmware,
        ena,
        copied_by: None,
    };
    let state = call.state();
    state.images.insert(id.clone(), image);
    tags.apply(state, Resource::Image, &id);
    xml.text("imageId", id);
    Ok(())
}

/// The root's volume begins as a snapshot of the call's; the others as they are said.
fn disks(params: &Level<'_>, ground: Ground<'_>) -> Result<Disks, ApiError> {
    let device = ground.root_device;
    let mappings = params.members("BlockDeviceMapping").into_iter();
    let mut roots = mappings.filter(|mapping| mapping.get("DeviceName") == Some(device));
    let ebs = roots.next().and_then(|mapping| mapping.group("Ebs"));
    let ebs = ebs.filter(|ebs| ebs.get("SnapshotId").is_some());
    let ebs = ebs.ok_or_else(|| malformed(no_snapshot(device)))?;
    let mut root = new_disk(device, &ebs, ground)?;
    if ebs.get("DeleteOnTermination").is_none() {
        root.ebs.delete_on_termination = true;
    }
    let none = BTreeMap::new();
    read_mappings(
        params,
        ground,
        Disks {
            root,
            further: none,
        },
    )
}

fn no_snapshot(device: &str) -> String {
    format!("The root device '{device}' has no mapping with a snapshot")
}

fn firmware(params: &Level<'_>, arm: bool) -> Result<Firmware, ApiError> {
    let modes = ["legacy-bios", "uefi", "uefi-preferred"];
    let boot_mode = params.choice("BootMode", &modes)?;
    if arm && boot_mode.is_some_and(|mode| mode != "uefi") {
        return Err(ApiError::combination(
            "Images for arm64 boot by uefi and nothing else",
        ));
    }
    let tpm = params.choice("TpmSupport", &[TPM_V2])?.is_some();
    if tpm && boot_mode != Some("uefi") {
        return Err(ApiError::combination(
            "The parameter TpmSupport requires the boot mode uefi",
        ));
    }
    let uefi_data = params.given("UefiData");
    if uefi_data.is_some() && !boot_mode.is_some_and(|mode| mode.starts_with("uefi")) {
        return Err(ApiError::combination(
            "The parameter UefiData requires the boot mode uefi or uefi-preferred",
        ));
    }
    Ok(Firmware {
        boot_mode: boot_mode.map(str::to_owned),
        tpm,
        uefi_data: uefi_data.map(str::to_owned),
    })
}
