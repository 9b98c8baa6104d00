//! CopyImage: an image of another region, or of this one, that is pending until
//! the disks of its snapshots are copied.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::call::Call;
use super::image_create::{check_name, name_is_free};
use super::images::unavailable;
use super::run::{client_token, read_nothing_new};
use super::snapshots::{NO_VOLUME, pending};
use super::tags::TagSpecs;
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::fleet::{Capture, Order, Part};
use crate::state::ids::Resource;
use crate::state::kms::key_arn;
use crate::state::regions::Region;
use crate::state::world::{
    ACCOUNT, CopyToken, Ebs, Image, ImageState, ImageVolume, Origin, Protection, Snapshot, Tags,
};

/// Minutes in which a copy may be asked to complete: quarters of an hour up to two
/// days.
const DURATIONS: std::ops::RangeInclusive<i64> = 15..=2880;

/// Of a copy that is to be done in time.
pub(super) fn check_duration(parameter: &str, minutes: Option<i64>) -> Result<(), ApiError> {
    match minutes {
        Some(minutes) if !(DURATIONS.contains(&minutes) && minutes % 15 == 0) => {
            Err(ApiError::invalid(format!(
                "Value ({minutes}) for parameter {parameter} is invalid. It must be a multiple of 15 from {} to {}.",
                DURATIONS.start(),
                DURATIONS.end()
            )))
        }
        _ => Ok(()),
    }
}

pub(super) fn copy_image(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let digest = call.form.digest_without(&["ClientToken", "DryRun"]);
    let token = client_token(call)?;
    if let Some(token) = token
        && let Some(made) = same_token(call, token, &digest)?
    {
        read_nothing_new(call)?;
        xml.text("imageId", made);
        return Ok(());
    }
    let name = call.params.require("Name")?;
    let source_id = call.params.require("SourceImageId")?;
    let source_region = call.params.require("SourceRegion")?;
    let description = call.params.given("Description");
    let encrypted = call.params.flag("Encrypted")?;
    let with_tags = call.params.flag("CopyImageTags")?.unwrap_or(false);
    let specs = TagSpecs::read(&call.params, &[Resource::Image, Resource::Snapshot])?;
    let key = call.params.given("KmsKeyId");
    if key.is_some() && encrypted != Some(true) {
        return Err(ApiError::new(
            "InvalidParameterDependency",
            "The parameter KmsKeyId requires the parameter Encrypted to be set.",
        ));
    }
    let kms_key = key.map(|key| key_arn(call.region.name, key)).transpose()?;
    for (parameter, what) in [
        ("DestinationOutpostArn", "Outposts"),
        ("DestinationAvailabilityZone", "copies into Local Zones"),
    ] {
        if call.params.get(parameter).is_some() {
            return Err(ApiError::unsupported(what));
        }
    }
    let minutes = call
        .params
        .number("SnapshotCopyCompletionDurationMinutes")?;
    check_duration("snapshotCopyCompletionDurationMinutes", minutes)?;
    check_name(name)?;
    Resource::Image.check(source_id)?;
    let from = Region::find(source_region).ok_or_else(|| {
        ApiError::new(
            "InvalidRegion",
            format!("The region {source_region} does not exist."),
        )
    })?;
    let (source, snapshots, tags) = source(call, from, source_id)?;
    name_is_free(call.state(), name)?;
    if encrypted == Some(false) && source.volumes().any(|(_, _, ebs)| ebs.encrypted) {
        return Err(ApiError::combination(
            "An encrypted image cannot be copied to one that is not encrypted",
        ));
    }
    call.commit()?;

    let image_id = Resource::Image.fresh();
    let (now, here, pace) = (call.now, call.region, call.fleet.pace);
    // A copy that names no key is encrypted with the default key of its region.
    let recrypt = |ebs: &mut Ebs| {
        ebs.encrypted |= encrypted.unwrap_or(false);
        ebs.kms_key.clone_from(&kms_key);
    };
    let (mut root, mut further) = (source.root.clone(), source.further.clone());
    recrypt(&mut root.ebs);
    let mut parts = Vec::new();
    let mut copy_of = |call: &mut Call<'_>, id: &str, ebs: &Ebs| {
        let snapshot = snapshots.get(id)?;
        let copy = pending(
            call,
            // The documented id of a volume that is none.
            NO_VOLUME,
            snapshot.size_gib,
            ebs.encrypted,
            ebs.kms_key.clone(),
            format!(
                "Copied for DestinationAmi {image_id} from SourceAmi {source_id} for SourceSnapshot {}.",
                snapshot.id
            ),
        );
        parts.push(Part {
            from: Some(snapshot.disk.clone()),
            snapshot: copy.id.clone(),
        });
        let (id, state) = (copy.id.clone(), call.state());
        specs.apply(state, Resource::Snapshot, &id);
        state.snapshots.insert(id.clone(), copy);
        Some(id)
    };
    root.snapshot = copy_of(call, &root.snapshot, &root.ebs)
        .ok_or_else(|| ApiError::internal("the image has no snapshot"))?;
    for ImageVolume { snapshot, ebs } in further.values_mut() {
        if let Some(id) = snapshot {
            recrypt(ebs);
            *snapshot = copy_of(call, id, ebs);
        }
    }
    let image = Image {
        id: image_id.clone(),
        name: name.to_owned(),
        description: description.map(str::to_owned),
        owner: ACCOUNT.to_owned(),
        state: ImageState::Pending,
        created: now,
        deprecated: None,
        arm: source.arm,
        root_device: source.root_device.clone(),
        root,
        further,
        origin: Some(Origin {
            instance: None,
            image: source_id.to_owned(),
            region: Some(from.name.to_owned()),
        }),
        public: false,
        launch_accounts: Vec::new(),
        launch_organizations: Vec::new(),
        protection: Protection::default(),
        imds_v2: source.imds_v2,
        firmware: source.firmware.clone(),
        ena: source.ena,
        copied_by: token.map(|token| CopyToken {
            token: token.to_owned(),
            digest,
        }),
    };
    let state = call.state();
    state.images.insert(image_id.clone(), image);
    if with_tags && !tags.is_empty() {
        state.tags.insert(image_id.clone(), tags);
    }
    specs.apply(state, Resource::Image, &image_id);
    xml.text("imageId", &image_id);
    let snapshot_due = Instant::now() + pace.snapshot;
    call.order(Order::Copy(Capture {
        region: here.name.to_owned(),
        image: Some(image_id),
        parts,
        reboot: false,
        end: None,
        snapshot_due,
        image_due: snapshot_due + pace.image,
    }));
    Ok(())
}

/// The image that an earlier call with this token made.
fn same_token(call: &mut Call<'_>, token: &str, digest: &str) -> Result<Option<String>, ApiError> {
    let state = call.state();
    let made = state.images.values().find_map(|image| {
        let copied = image.copied_by.as_ref()?;
        (copied.token == token).then_some((image, copied))
    });
    match made {
        None => Ok(None),
        Some((image, copied)) if copied.digest == digest => Ok(Some(image.id.clone())),
        Some(_) => Err(ApiError::new(
            "IdempotentParameterMismatch",
            "The client token was used with other parameters",
        )),
    }
}

/// What is to be copied: the image, the snapshots under it, and its tags.
fn source(
    call: &mut Call<'_>,
    from: Region,
    id: &str,
) -> Result<(Image, BTreeMap<String, Snapshot>, Tags), ApiError> {
    let state = call.world.region(from.name);
    let image = match state.images.get(id) {
        Some(image) => image,
        None if state.deregistered.contains_key(id) => return Err(unavailable(id)),
        None => return Err(Resource::Image.not_found(id)),
    };
    if image.state != ImageState::Available {
        return Err(ApiError::new(
            "InvalidAMIID.Unavailable",
            format!(
                "The image ID '{id}' is not available: it is {}",
                image.state.name()
            ),
        ));
    }
    let snapshots = image
        .snapshots()
        .filter_map(|id| Some((id.to_owned(), state.snapshots.get(id)?.clone())))
        .collect();
    let tags = state.tags.get(id).cloned().unwrap_or_default();
    Ok((image.clone(), snapshots, tags))
}
