//! What EC2 would say about sharing only when all the work is done.

use forno_aws::{Gateway, Image};
use forno_recipe::Recipe;

use super::view::{Preflight, PreflightOutcome};
use crate::{Error, ErrorKind};

/// Asks whether the image could be shared as the recipe says.
pub(super) async fn ask(
    gateway: &Gateway,
    recipe: &Recipe,
    source: &Image,
) -> Result<Option<Preflight>, Error> {
    let (publish, disk) = (&recipe.publish, &recipe.builder.disk);
    if publish.is_shared() && !disk.encrypted && source.block_devices.iter().any(|d| d.encrypted) {
        return Err(Error::new(ErrorKind::Preflight(format!(
            "the image cannot be shared: {} is encrypted, and so is what is made from it",
            source.id
        )))
        .with_hint(
            "name a key that those accounts may use in builder.disk.kms_key_id, or start from an image that is not encrypted",
        ));
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
