//! `forno images`

use std::process;

use forno_aws::{Image, ImageState, TagMatch};
use forno_bake::ExitCode;
use forno_report::Mode;
use serde_json::json;

use super::bakes::moment;
use crate::cli::{ImagesArgs, Output};
use crate::context::{Context, block_on};
use crate::place::Place;

// What every image that forno makes is tagged with.
const IMAGE: &str = "forno:image";
const DIGEST: &str = "forno:digest";
const SOURCE: &str = "forno:source-image";
const FINISHED: &str = "forno:finished";

pub(crate) fn run(arguments: &ImagesArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let project = context.settings_of_project()?;
    let mode = match context.printer.mode(Output::Auto, &context.environment) {
        Mode::Bars => Mode::Bars,
        _ => Mode::Plain,
    };
    let (images, region) = block_on(async {
        let place = Place::open(&arguments.place, &project, mode, context).await?;
        let images = async {
            let gateway = place.gateway().await?;
            let condition = match &arguments.image {
                Some(image) => TagMatch::is(IMAGE, image),
                None => TagMatch::has(IMAGE),
            };
            let images = gateway.images_tagged(&[condition]).await?;
            anyhow::Ok((images, gateway.region().to_owned()))
        };
        let images = images.await;
        let closed = place.close().await;
        images.and_then(|images| closed.map(|()| images))
    })?;
    if arguments.json {
        let images: Vec<_> = images.iter().map(|image| as_json(image, &region)).collect();
        context.printer.json(&images)?;
        return Ok(ExitCode::Done.into());
    }
    if images.is_empty() {
        context
            .printer
            .say(&format!("no images of forno in {region}"));
        return Ok(ExitCode::Done.into());
    }
    let rows: Vec<_> = images.iter().map(row).collect();
    context.printer.table(
        &[
            "IMAGE", "ID", "NAME", "STATE", "CREATED", "DIGEST", "SOURCE",
        ],
        &rows,
    )?;
    Ok(ExitCode::Done.into())
}

fn row(image: &Image) -> Vec<String> {
    let tag = |key| image.tags.get(key).unwrap_or("").to_owned();
    vec![
        tag(IMAGE),
        image.id.to_string(),
        image.name.clone().unwrap_or_default(),
        state(image),
        image.created.map(moment).unwrap_or_default(),
        tag(DIGEST).chars().take(12).collect(),
        tag(SOURCE),
    ]
}

/// An image whose bake did not come to its end is available, and yet not finished.
fn state(image: &Image) -> String {
    if image.state == ImageState::Available && image.tags.get(FINISHED).is_none() {
        "unfinished".to_owned()
    } else {
        image.state.to_string()
    }
}

fn as_json(image: &Image, region: &str) -> serde_json::Value {
    json!({
        "image": image.tags.get(IMAGE),
        "id": image.id.to_string(),
        "name": image.name,
        "region": region,
        "state": image.state.to_string(),
        "finished": image.tags.get(FINISHED),
        "created": image.created,
        "digest": image.tags.get(DIGEST),
        "source": image.tags.get(SOURCE),
        "architecture": image.architecture.as_str(),
        "snapshots": image.snapshots().map(ToString::to_string).collect::<Vec<_>>(),
        "tags": image.tags,
    })
}
