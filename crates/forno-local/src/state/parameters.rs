//! Parameters of Systems Manager: those that were put, and Debian's public ones,
//! which follow from the public images, so that nothing of them is stored.

use jiff::Timestamp;

use super::world::{DEBIAN_ACCOUNT, Image, OwnParameter, ParameterVersion, RegionState};

const ROOT: &str = "/aws/service/debian/release/12";

/// One version of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) modified: Timestamp,
    pub(crate) version: u64,
    pub(crate) kind: String,
    pub(crate) data_type: String,
    /// Whether it was put here.
    pub(crate) own: bool,
    /// By what it was chosen, such as `:3`.
    pub(crate) selector: Option<String>,
}

/// Why a parameter is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Parameter,
    Version,
}

/// The newest versions of all parameters of a region, in the order of their
/// names.
pub(crate) fn parameters(state: &RegionState) -> Vec<Parameter> {
    let own = state.parameters.values();
    let own = own.filter_map(|parameter| Some(parameter.at(parameter.newest()?)));
    let mut found: Vec<Parameter> = own.chain(public(state)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// A parameter by its name, by its name with a version (`/a/b:3`), or by the
/// ARN of either.
pub(crate) fn find_parameter(state: &RegionState, wanted: &str) -> Result<Parameter, Missing> {
    let parsed = wanted
        .strip_prefix("arn:")
        .and_then(|arn| arn.split_once(":parameter/"));
    if let Some((_, short)) = parsed {
        // An ARN does not tell whether the name begins with a slash.
        return find_named(state, &format!("/{short}")).or_else(|_| find_named(state, short));
    }
    find_named(state, wanted)
}

fn find_named(state: &RegionState, wanted: &str) -> Result<Parameter, Missing> {
    let (name, selector) = match wanted.split_once(':') {
        Some((name, selector)) => (name, Some(selector)),
        None => (wanted, None),
    };
    let number = selector.map(str::parse::<u64>);
    let mut found = match (state.parameters.get(name), &number) {
        (Some(own), Some(number)) => {
            let mut versions = own.versions.iter();
            versions
                .find(|version| number.as_ref() == Ok(&version.number))
                .map(|version| own.at(version))
                .ok_or(Missing::Version)?
        }
        (Some(own), None) => own.at(own.newest().ok_or(Missing::Parameter)?),
        (None, _) => public(state)
            .into_iter()
            .find(|public| public.name == name)
            .ok_or(Missing::Parameter)?,
    };
    if number.is_some_and(|number| number != Ok(found.version)) {
        return Err(Missing::Version);
    }
    found.selector = selector.map(|selector| format!(":{selector}"));
    Ok(found)
}

impl OwnParameter {
    pub(crate) fn newest(&self) -> Option<&ParameterVersion> {
        self.versions.last()
    }

    fn at(&self, version: &ParameterVersion) -> Parameter {
        Parameter {
            name: self.name.clone(),
            value: version.value.clone(),
            modified: version.modified,
            version: version.number,
            kind: self.kind.clone(),
            data_type: self.data_type.clone(),
            own: true,
            selector: None,
        }
    }
}

fn public(state: &RegionState) -> Vec<Parameter> {
    let mut images: Vec<&Image> = state
        .images
        .values()
        .filter(|image| image.owner == DEBIAN_ACCOUNT)
        .collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let parameter = |name: String, image: &Image, version: usize| Parameter {
        name,
        value: image.id.clone(),
        modified: image.created,
        version: u64::try_from(version).unwrap_or(1),
        kind: "String".to_owned(),
        data_type: "aws:ec2:image".to_owned(),
        own: false,
        selector: None,
    };
    let mut found = Vec::new();
    for image in &images {
        let Some(build) = image.name.strip_prefix("debian-12-amd64-") else {
            continue;
        };
        found.push(parameter(format!("{ROOT}/{build}/amd64"), image, 1));
    }
    // Not the newest by name: with other certificates or another mirror than at
    // the last start, an older disk can be the one that was asked for.
    if let Some(source) = state.source.as_ref().and_then(|id| state.images.get(id)) {
        found.push(parameter(
            format!("{ROOT}/latest/amd64"),
            source,
            images.len(),
        ));
    }
    found
}
