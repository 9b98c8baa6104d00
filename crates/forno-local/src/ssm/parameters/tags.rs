//! Tags of parameters.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::ssm::call::{Call, Reply};
use crate::ssm::check::{self, invalid};
use crate::state::world::{OwnParameter, RegionState, Tags};

/// How many one parameter may have.
const MOST: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Request {
    resource_type: String,
    resource_id: String,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// Refuses what no tag can be.
pub(super) fn check(tags: &[Tag]) -> Result<(), ApiError> {
    for tag in tags {
        check::length("tags.member.key", tag.key.chars().count(), 1..=128)?;
        check::length("tags.member.value", tag.value.chars().count(), 0..=256)?;
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys starting with 'aws:' are reserved."));
        }
    }
    if tags.len() > MOST {
        return Err(too_many());
    }
    Ok(())
}

pub(super) fn collect(tags: &[Tag]) -> Tags {
    let pairs = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
    pairs.collect()
}

fn too_many() -> ApiError {
    ApiError::new(
        "TooManyTagsError",
        format!("A parameter can have at most {MOST} tags."),
    )
}

pub(in crate::ssm) fn add_tags_to_resource(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: Request = call.input()?;
    check(&input.tags)?;
    call.change(|state| {
        let own = input.parameter(state)?;
        let mut tags = own.tags.clone();
        tags.extend(collect(&input.tags));
        if tags.len() > MOST {
            return Err(too_many());
        }
        own.tags = tags;
        Ok(Reply::saved(json!({})))
    })
}

pub(in crate::ssm) fn remove_tags_from_resource(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: Request = call.input()?;
    call.change(|state| {
        let own = input.parameter(state)?;
        own.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(Reply::saved(json!({})))
    })
}

pub(in crate::ssm) fn list_tags_for_resource(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: Request = call.input()?;
    let tags = call.change(|state| input.parameter(state).map(|own| own.tags.clone()))?;
    let shown: Vec<Value> = tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(Reply::of(json!({ "TagList": shown })))
}

impl Request {
    fn parameter<'a>(&self, state: &'a mut RegionState) -> Result<&'a mut OwnParameter, ApiError> {
        if self.resource_type != "Parameter" {
            return Err(ApiError::new(
                "InvalidResourceType",
                "The pocket EC2 knows tags of parameters only",
            ));
        }
        let found = state.parameters.get_mut(&self.resource_id);
        found.ok_or_else(|| {
            ApiError::new(
                "InvalidResourceId",
                "The resource ID is not valid. Verify that you entered the correct ID and try again.",
            )
        })
    }
}
