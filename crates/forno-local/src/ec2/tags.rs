//! Tags: their rules, the specifications that other actions carry, and the
//! three actions of their own.

use std::collections::BTreeMap;

use super::call::Call;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::world::{RegionState, Tags};

/// Most tags of one resource.
const MOST: usize = 50;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

/// The tag specifications of a creating call.
#[derive(Debug, Default)]
pub(super) struct TagSpecs(BTreeMap<&'static str, Tags>);

impl TagSpecs {
    /// Reads them; only the sorts that the action makes may be named.
    pub(super) fn read(params: &Level<'_>, makes: &[Resource]) -> Result<Self, ApiError> {
        let mut specs = BTreeMap::new();
        for spec in params.members("TagSpecification") {
            let wanted = spec.require("ResourceType")?;
            let resource = makes
                .iter()
                .find(|resource| resource.tag_type() == wanted)
                .ok_or_else(|| {
                    ApiError::invalid(format!(
                        "'{wanted}' is not a valid taggable resource type for this operation."
                    ))
                })?;
            let tags = read_tags(&spec)?;
            if specs.insert(resource.tag_type(), tags).is_some() {
                return Err(ApiError::invalid(format!(
                    "Tag specification resource type '{wanted}' is specified more than once"
                )));
            }
        }
        Ok(Self(specs))
    }

    /// Puts the tags of its sort on a resource just made.
    pub(super) fn apply(&self, state: &mut RegionState, resource: Resource, id: &str) {
        if let Some(tags) = self
            .0
            .get(resource.tag_type())
            .filter(|tags| !tags.is_empty())
        {
            state.tags.insert(id.to_owned(), tags.clone());
        }
    }
}

fn read_tags(params: &Level<'_>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in params.members("Tag") {
        let key = tag.require("Key")?;
        let value = tag.get("Value").unwrap_or_default();
        check(key, value)?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::invalid(format!(
                "Duplicate tag key '{key}' specified."
            )));
        }
    }
    if tags.len() > MOST {
        return Err(too_many());
    }
    Ok(tags)
}

pub(crate) fn check(key: &str, value: &str) -> Result<(), ApiError> {
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(ApiError::invalid(
            "Tag keys starting with 'aws:' are reserved for internal use",
        ));
    }
    if key.chars().count() > LONGEST_KEY {
        return Err(ApiError::invalid(format!(
            "Tag key exceeds the maximum length of {LONGEST_KEY} characters"
        )));
    }
    if value.chars().count() > LONGEST_VALUE {
        return Err(ApiError::invalid(format!(
            "Tag value exceeds the maximum length of {LONGEST_VALUE} characters"
        )));
    }
    Ok(())
}

fn too_many() -> ApiError {
    ApiError::new(
        "TagLimitExceeded",
        format!("More than {MOST} tags specified"),
    )
}

/// A `tagSet`; left out where there are none, as EC2 does.
pub(super) fn write_tags<'t>(xml: &mut Xml, tags: impl Iterator<Item = (&'t str, &'t str)>) {
    let mut tags = tags.peekable();
    if tags.peek().is_some() {
        xml.list("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key).text("value", value);
        });
    }
}

/// The resources of a tagging call, all of which must be there.
fn resources<'a>(call: &mut Call<'a>) -> Result<Vec<&'a str>, ApiError> {
    let ids = call.params.require_list("ResourceId")?;
    let region = call.region;
    for id in &ids {
        let resource = Resource::of(id)
            .ok_or_else(|| ApiError::new("InvalidID", format!("The ID '{id}' is not valid")))?;
        call.state()
            .exists(region, id)
            .ok_or_else(|| resource.not_found(id))?;
    }
    Ok(ids)
}

pub(super) fn create_tags(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let ids = resources(call)?;
    let tags = read_tags(&call.params)?;
    if tags.is_empty() {
        return Err(ApiError::missing("Tag"));
    }
    for id in &ids {
        let known = call.state().tags.get(*id);
        let fresh = tags
            .keys()
            .filter(|key| known.is_none_or(|known| !known.contains_key(*key)))
            .count();
        if known.map_or(0, Tags::len) + fresh > MOST {
            return Err(ApiError::new(
                "TagLimitExceeded",
                format!("The maximum number of Tags for a resource has been reached: {id}"),
            ));
        }
    }
    call.commit()?;
    for id in ids {
        call.state()
            .tags
            .entry(id.to_owned())
            .or_default()
            .extend(tags.clone());
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn delete_tags(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let ids = call.params.require_list("ResourceId")?;
    for id in &ids {
        Resource::of(id)
            .ok_or_else(|| ApiError::new("InvalidID", format!("The ID '{id}' is not valid")))?;
    }
    let mut wanted: Vec<(&str, Option<&str>)> = Vec::new();
    for tag in call.params.members("Tag") {
        let key = tag.require("Key")?;
        check(key, "")?;
        wanted.push((key, tag.get("Value")));
    }
    call.commit()?;
    let state = call.state();
    for id in ids {
        let Some(tags) = state.tags.get_mut(id) else {
            continue;
        };
        if wanted.is_empty() {
            tags.clear();
        }
        for (key, value) in &wanted {
            if tags
                .get(*key)
                .is_some_and(|found| value.is_none_or(|value| value == found))
            {
                tags.remove(*key);
            }
        }
        if tags.is_empty() {
            state.tags.remove(id);
        }
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn describe_tags(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(
        &call.params,
        &["key", "resource-id", "resource-type", "value"],
        true,
    )?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let state = call.state();
    let mut all: Vec<(&str, &str, &str, &str)> = Vec::new();
    for (id, tags) in &state.tags {
        let kind = Resource::of(id).map_or("", Resource::tag_type);
        all.extend(
            tags.iter()
                .map(|(key, value)| (id.as_str(), kind, key.as_str(), value.as_str())),
        );
    }
    all.retain(|(id, kind, key, value)| {
        filters.select(std::iter::once((*key, *value)), |filter| {
            vec![
                match filter {
                    "key" => *key,
                    "resource-id" => *id,
                    "resource-type" => *kind,
                    _ => *value,
                }
                .to_owned(),
            ]
        })
    });
    let (tags, next) = page.cut(all, |(id, _, key, _)| format!("{id} {key}"));
    xml.list("tagSet", tags, |xml, (id, kind, key, value)| {
        xml.text("resourceId", id)
            .text("resourceType", kind)
            .text("key", key)
            .text("value", value);
    });
    xml.maybe("nextToken", next);
    Ok(())
}
