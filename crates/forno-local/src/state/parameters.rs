//! Debian's public parameters of SSM. They follow from the public images, so
//! nothing of them is stored.

use jiff::Timestamp;

use super::world::{DEBIAN_ACCOUNT, Image, RegionState};

const ROOT: &str = "/aws/service/debian/release/12";

/// One public parameter that names an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) modified: Timestamp,
    pub(crate) version: usize,
}

/// All public parameters of a region, in the order of their names.
pub(crate) fn parameters(state: &RegionState) -> Vec<Parameter> {
    let mut images: Vec<&Image> = state
        .images
        .values()
        .filter(|image| image.owner == DEBIAN_ACCOUNT)
        .collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let mut found = Vec::new();
    for image in &images {
        let Some(build) = image.name.strip_prefix("debian-12-amd64-") else {
            continue;
        };
        found.push(Parameter {
            name: format!("{ROOT}/{build}/amd64"),
            value: image.id.clone(),
            modified: image.created,
            version: 1,
        });
    }
    // Not the newest by name: with other certificates or another mirror than at
    // the last start, an older disk can be the one that was asked for.
    if let Some(source) = state.source.as_ref().and_then(|id| state.images.get(id)) {
        found.push(Parameter {
            name: format!("{ROOT}/latest/amd64"),
            value: source.id.clone(),
            modified: source.created,
            version: images.len(),
        });
    }
    found
}
