//! Whether a bake would make anything new.

use forno_aws::{Gateway, Image};
use forno_recipe::Digest;

use super::newest_finished;
use super::view::Change;
use crate::{Bakes, Error, names};

pub(super) async fn compare(
    gateway: &Gateway,
    bakes: &Bakes,
    name: &str,
    digest: &Digest,
) -> Result<Change, Error> {
    let Some(newest) = newest_finished(gateway, name).await? else {
        return Ok(Change::First);
    };
    let image_id = newest.id.to_string();
    let image_name = newest.name.clone().unwrap_or_else(|| image_id.clone());
    if newest.tags.get(names::DIGEST) == Some(digest.whole.as_str()) {
        return Ok(Change::None {
            image_id,
            image_name,
        });
    }
    let parts = known_digest(bakes, &newest)
        .map(|older| digest.changes_since(&older))
        .unwrap_or_default();
    Ok(Change::Changed {
        image_id,
        image_name,
        parts,
    })
}

/// The digest of an image part by part, when it was baked on this machine.
fn known_digest(bakes: &Bakes, image: &Image) -> Option<Digest> {
    let bake = image.tags.get(names::BAKE)?.parse().ok()?;
    let manifest = bakes.folder(&bake).manifest().ok()??;
    (manifest.image_id == image.id.as_str()).then_some(manifest.digest)
}
