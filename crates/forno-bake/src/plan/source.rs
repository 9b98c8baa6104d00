//! The image that a bake starts from: found, and fit for it.

use forno_aws::{Gateway, Image, ImageId, ImageSearch, ImageState, TagMatch};
use forno_recipe::{Recipe, Source};

use super::volumes;
use crate::{Error, ErrorKind, names};

/// A found source, and in words how.
pub(super) struct Found {
    pub(super) image: Image,
    pub(super) by: String,
}

pub(super) async fn resolve(gateway: &Gateway, recipe: &Recipe) -> Result<Found, Error> {
    let (image, by) = match &recipe.source {
        Source::Ami { id } => {
            let id = parse(id)?;
            (require(gateway, &id).await?, "its id".to_owned())
        }
        Source::Ssm { parameter } => {
            let id = gateway.image_parameter(parameter).await.map_err(no_such)?;
            (
                require(gateway, &id).await?,
                format!("the SSM parameter {parameter}"),
            )
        }
        Source::Search {
            owners,
            name,
            filters,
            include_deprecated,
        } => {
            let found = gateway
                .search_images(&ImageSearch {
                    owners: owners.clone(),
                    name: name.clone(),
                    architecture: Some(recipe.architecture.as_str().into()),
                    filters: filters.clone(),
                    include_deprecated: *include_deprecated,
                })
                .await
                .map_err(ErrorKind::Planning)?;
            let newest = found.into_iter().next().ok_or_else(|| {
                Error::new(ErrorKind::Preflight(format!(
                    "no available {} image named `{name}` of {} in {}",
                    recipe.architecture.as_str(),
                    owners.join(", "),
                    gateway.region(),
                )))
                .with_hint("check owners, name and region; the name may hold `*` and `?`")
            })?;
            (
                newest,
                format!("the newest `{name}` of {}", owners.join(", ")),
            )
        }
        Source::Recipe { name } => {
            let newest = newest_finished(gateway, name).await?.ok_or_else(|| {
                Error::new(ErrorKind::Preflight(format!(
                    "no finished image of `{name}` in {}",
                    gateway.region()
                )))
                .with_hint(format!("bake it first: forno bake {name}"))
            })?;
            (newest, format!("the newest finished image of `{name}`"))
        }
    };
    fit(gateway, recipe, &image)?;
    Ok(Found { image, by })
}

fn parse(id: &str) -> Result<ImageId, Error> {
    ImageId::new(id).map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())))
}

async fn require(gateway: &Gateway, id: &ImageId) -> Result<Image, Error> {
    gateway.require_image(id).await.map_err(no_such)
}

/// A source that is not there is the recipe's problem, not the network's.
fn no_such(error: forno_aws::Error) -> Error {
    Error::new(ErrorKind::Planning(error))
}

/// The newest image that a bake of this recipe has finished.
pub(crate) async fn newest_finished(gateway: &Gateway, name: &str) -> Result<Option<Image>, Error> {
    let images = gateway
        .images_tagged(&[
            TagMatch::is(names::IMAGE, name),
            TagMatch::has(names::FINISHED),
        ])
        .await
        .map_err(ErrorKind::Planning)?;
    Ok(images
        .into_iter()
        .find(|image| image.state == ImageState::Available))
}

/// Can a builder of this recipe start from it at all?
pub(super) fn fit(gateway: &Gateway, recipe: &Recipe, image: &Image) -> Result<(), Error> {
    let problem = |text: String| Err(Error::new(ErrorKind::Preflight(text)));
    if image.state != ImageState::Available {
        return problem(format!(
            "the source image {} in {} is {}, not available",
            image.id,
            gateway.region(),
            image.state
        ));
    }
    if image.architecture.as_str() != recipe.architecture.as_str() {
        return Err(Error::new(ErrorKind::Preflight(format!(
            "the source image {} is for {}, the recipe for {}",
            image.id,
            image.architecture,
            recipe.architecture.as_str()
        )))
        .with_hint("set image.architecture in the recipe, or choose another source"));
    }
    if image
        .root_device_type
        .as_deref()
        .is_some_and(|kind| kind != "ebs")
    {
        return problem(format!(
            "the source image {} has no EBS root volume, so no image can be made of its machines",
            image.id
        ));
    }
    if image.root_device.is_none() {
        return problem(format!(
            "the source image {} does not say what its root device is",
            image.id
        ));
    }
    let wanted = recipe
        .builder
        .disk
        .size
        .and_then(forno_recipe::Size::whole_gib);
    if let (Some(wanted), Some(least)) = (wanted, image.root_size_gib())
        && wanted < u64::from(least)
    {
        return problem(format!(
            "builder.disk.size is {wanted}GiB, but the root volume of {} has {least}GiB",
            image.id
        ));
    }
    if let (Some(_), Some(billed)) = (&recipe.register, &image.billed_as) {
        return problem(format!(
            "the source image {} is billed as `{billed}`, and RegisterImage would lose that: leave image.register out",
            image.id
        ));
    }
    volumes::fit(recipe, image)
}
