//! What EC2 would say about publishing only when all the work is done.

use forno_aws::{Gateway, Image};
use forno_recipe::Recipe;

use super::view::{Preflight, PreflightOutcome};
use super::volumes::encrypted_by_source;
use crate::{Error, ErrorKind};

/// Asks whether the image could be published as the recipe says.
pub(super) async fn ask(
    gateway: &Gateway,
    recipe: &Recipe,
    source: &Image,
    ami_name: &str,
) -> Result<Vec<Preflight>, Error> {
    let mut found = regions(gateway, recipe, ami_name).await?;
    found.extend(sharing(gateway, recipe, source).await?);
    Ok(found)
}

/// Each must be enabled, and have no image of that name.
async fn regions(
    gateway: &Gateway,
    recipe: &Recipe,
    ami_name: &str,
) -> Result<Vec<Preflight>, Error> {
    let regions = &recipe.publish.regions;
    if regions.is_empty() {
        return Ok(Vec::new());
    }
    let enabled = gateway.regions().await.map_err(ErrorKind::Planning)?;
    if let Some(region) = regions.iter().find(|region| !enabled.contains(region)) {
        return Err(Error::new(ErrorKind::Preflight(format!(
            "the image cannot be copied to {region}: the account has no such region, or has not enabled it"
        )))
        .with_hint(format!("its regions are {}", enabled.join(", "))));
    }
    let looks = regions.iter().map(|region| async move {
        let there = gateway.in_region(region);
        (region, there.images_named(ami_name).await)
    });
    let mut found = Vec::new();
    for (region, looked) in futures::future::join_all(looks).await {
        let (outcome, detail) = match looked {
            Ok(images) => match images.first() {
                None => (PreflightOutcome::Allowed, None),
                Some(image) => {
                    return Err(Error::new(ErrorKind::Preflight(format!(
                        "the image cannot be copied to {region}: {} has the name `{ami_name}` there",
                        image.id
                    )))
                    .with_hint("let image.ami_name differ from bake to bake"));
                }
            },
            Err(error) => (PreflightOutcome::Unclear, Some(error.to_string())),
        };
        found.push(Preflight {
            call: format!("DescribeImages in {region}"),
            outcome,
            detail,
        });
    }
    Ok(found)
}

async fn sharing(
    gateway: &Gateway,
    recipe: &Recipe,
    source: &Image,
) -> Result<Vec<Preflight>, Error> {
    let publish = &recipe.publish;
    if (publish.is_shared() || publish.public_snapshots)
        && let Some(device) = encrypted_by_source(recipe, source).next()
    {
        let table = if source.root_device.as_deref() == Some(device) {
            "builder.disk"
        } else {
            "an entry of builder.volumes"
        };
        return Err(Error::new(ErrorKind::Preflight(format!(
            "the image cannot be shared: {device} of {} is encrypted, and so is what is made from it",
            source.id
        )))
        .with_hint(format!(
            "name a key that those accounts may use as kms_key_id of {table}, or start from an image that is not encrypted",
        )));
    }
    let mut found = Vec::new();
    if publish.public {
        found.push(public(
            &IMAGES,
            gateway.region(),
            gateway.may_share_publicly().await,
        )?);
    }
    if publish.public_snapshots {
        let may = gateway.may_share_snapshots_publicly().await;
        found.push(public(&SNAPSHOTS, gateway.region(), may)?);
    }
    Ok(found)
}

/// What a region may keep from being public, and how one asks.
struct Public {
    call: &'static str,
    what: &'static str,
    of: &'static str,
    allow: &'static str,
}

const IMAGES: Public = Public {
    call: "GetImageBlockPublicAccessState",
    what: "the image",
    of: "AMIs",
    allow: "aws ec2 disable-image-block-public-access",
};

const SNAPSHOTS: Public = Public {
    call: "GetSnapshotBlockPublicAccessState",
    what: "the image's snapshots",
    of: "snapshots",
    allow: "aws ec2 disable-snapshot-block-public-access",
};

fn public(
    about: &Public,
    region: &str,
    may: Result<bool, forno_aws::Error>,
) -> Result<Preflight, Error> {
    let (outcome, detail) = match may {
        Ok(true) => (PreflightOutcome::Allowed, None),
        Ok(false) => {
            let Public {
                what, of, allow, ..
            } = about;
            return Err(Error::new(ErrorKind::Preflight(format!(
                "{what} cannot be public: {region} blocks public access for {of}"
            )))
            .with_hint(format!("`{allow}` allows it, for all {of} of the region")));
        }
        Err(error) => (PreflightOutcome::Unclear, Some(error.to_string())),
    };
    Ok(Preflight {
        call: about.call.to_owned(),
        outcome,
        detail,
    })
}
