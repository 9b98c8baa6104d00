//! The other way to an image: of snapshots that forno makes itself, by RegisterImage.

use forno_aws::{InstanceId, Registration};
use forno_events::StepId;
use forno_recipe::Register;
use forno_saga::EffectId;

use super::capture::shown;
use super::context::Context;
use super::snapshot::{self, OfImage};
use crate::{Error, ErrorKind};

/// What is registered, once its snapshots are completed; those of a call that was made
/// before are known.
pub(super) async fn registration(
    ctx: &Context,
    register: &Register,
    step: &StepId,
    builder: Option<&InstanceId>,
) -> Result<Registration, Error> {
    let snapshots = match builder {
        Some(builder) => snapshot::of_image(ctx, step, builder, shown(ctx, step)).await?,
        None => snapshot::known_of_image(ctx),
    };
    let prepared = &ctx.prepared;
    let source = &prepared.source;
    let uefi_data = match &register.uefi_data {
        None => None,
        Some(path) => {
            let text = fs_err::read_to_string(&path.absolute);
            let text = text.map_err(Error::io("read the UEFI data"))?;
            Some(text.trim().to_owned())
        }
    };
    let root_device = source.root_device.clone();
    let root_device = root_device.ok_or_else(|| {
        Error::new(ErrorKind::Capture(
            "the source image names no root device".to_owned(),
        ))
    })?;
    let boot_mode = register.boot_mode.map(|mode| mode.as_str().to_owned());
    Ok(Registration {
        name: prepared.ami_name.clone(),
        description: prepared.description.clone(),
        tags: prepared.image_tags.clone(),
        architecture: source.architecture.clone(),
        root_device,
        volumes: prepared.registered_volumes(&snapshots),
        ena: source.ena,
        sriov: source.sriov,
        // What the source has beside a boot mode of the recipe's would not go with it.
        tpm: register.tpm_support.is_some() || (boot_mode.is_none() && source.tpm),
        boot_mode: boot_mode.or_else(|| source.boot_mode.clone()),
        uefi_data,
        imds_v2: source.imds_v2,
    })
}

/// The snapshots that the image stands on: they stay with it.
pub(super) fn stands_on(ctx: &Context) -> impl Iterator<Item = EffectId> {
    let known = snapshot::known_of_image(ctx);
    known.into_iter().map(|OfImage { effect, .. }| effect)
}
