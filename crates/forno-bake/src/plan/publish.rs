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
) -> Result<Option<Preflight>, Error> {
    let publish = &recipe.publish;
    if publish.is_shared()
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
    if !publish.public {
        return Ok(None);
    }
    let call = "GetImageBlockPublicAccessState".to_owned();
    match gateway.may_share_publicly().await {
        Ok(true) => Ok(Some(Preflight {
            call,
            outcome: PreflightOutcome::Allowed,
            detail: None,
        })),
        Ok(false) => Err(Error::new(ErrorKind::Preflight(format!(
            "the image cannot be public: {} blocks public access for AMIs",
            gateway.region()
        )))
        .with_hint(
            "`aws ec2 disable-image-block-public-access` allows it, for all images of the region",
        )),
        Err(error) => Ok(Some(Preflight {
            call,
            outcome: PreflightOutcome::Unclear,
            detail: Some(error.to_string()),
        })),
    }
}
