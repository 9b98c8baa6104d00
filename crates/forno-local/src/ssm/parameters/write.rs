//! PutParameter, DeleteParameter, DeleteParameters.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::names;
use super::tags::{self, Tag};
use crate::api::error::ApiError;
use crate::ssm::call::{Call, Reply};
use crate::ssm::check::{self, invalid, unsupported};
use crate::state::world::{ImageState, OwnParameter, ParameterVersion, RegionState};

const TEXT: &str = "text";
const IMAGE: &str = "aws:ec2:image";
const TYPES: &[&str] = &["String", "StringList", "SecureString"];
const TIERS: &[&str] = &["Standard", "Advanced", "Intelligent-Tiering"];
/// The longest values of the two tiers.
const STANDARD: usize = 4 * 1024;
const ADVANCED: usize = 8 * 1024;
/// How many versions are kept.
const VERSIONS: usize = 100;
/// How many parameters a region may have.
const MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PutParameter {
    name: String,
    description: Option<String>,
    value: String,
    r#type: Option<String>,
    key_id: Option<String>,
    overwrite: Option<bool>,
    allowed_pattern: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    tier: Option<String>,
    policies: Option<String>,
    data_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DeleteParameter {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DeleteParameters {
    names: Vec<String>,
}

pub(in crate::ssm) fn put_parameter(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: PutParameter = call.input()?;
    input.refuse_what_is_not_here()?;
    input.check()?;
    let checked = call.look(|state| input.against(state))?;
    let reply = json!({ "Version": checked.version, "Tier": checked.tier });
    if input.data_type.as_deref() == Some(IMAGE) {
        put_later(call, input, checked.tier);
        return Ok(Reply::of(reply));
    }
    // Somebody may have been faster.
    let put = call.change(|state| {
        let checked = input.against(state)?;
        input.put(state, checked.tier);
        Ok::<_, ApiError>(json!({ "Version": checked.version, "Tier": checked.tier }))
    });
    put.map(Reply::saved)
}

/// An image id is looked at after the reply; if there is no such image, the
/// parameter stays as it was, and nobody is told.
fn put_later(call: &Call<'_>, input: PutParameter, tier: &'static str) {
    let (fleet, region) = (std::sync::Arc::clone(&call.service.fleet), call.region.name);
    let tasks = fleet.tasks.clone();
    tasks.spawn(async move {
        tokio::time::sleep(fleet.pace.hidden).await;
        let store = &fleet.store;
        store
            .change_and_save(|world| {
                let state = world.region(region);
                let there = state.images.get(&input.value);
                let there = there.is_some_and(|image| image.state == ImageState::Available);
                if there && input.against(state).is_ok() {
                    input.put(state, tier);
                }
            })
            .await;
    });
}

/// What a put comes to.
struct Checked {
    version: u64,
    tier: &'static str,
}

impl PutParameter {
    /// What would have to do something, and cannot.
    fn refuse_what_is_not_here(&self) -> Result<(), ApiError> {
        if self.r#type.as_deref() == Some("SecureString") || self.key_id.is_some() {
            return Err(ApiError::new(
                "UnsupportedParameterType",
                "The pocket EC2 has no KMS, and keeps nothing that would have to be encrypted",
            ));
        }
        match (&self.allowed_pattern, &self.policies) {
            (Some(_), _) => Err(unsupported("AllowedPattern")),
            (_, Some(_)) => Err(unsupported("parameter policies")),
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        names::check(&self.name)?;
        check::length("value", self.value.len(), 1..=usize::MAX)?;
        if let Some(description) = &self.description {
            check::length("description", description.chars().count(), 0..=1024)?;
        }
        if let Some(kind) = &self.r#type {
            check::word("type", kind, TYPES)?;
        }
        if let Some(tier) = &self.tier {
            check::word("tier", tier, TIERS)?;
        }
        tags::check(&self.tags)?;
        match self.data_type.as_deref() {
            Some(IMAGE) if self.r#type.as_deref() == Some("StringList") => Err(invalid(
                "A parameter with the data type aws:ec2:image must be a String.",
            )),
            None | Some(TEXT | IMAGE) => Ok(()),
            Some(other) => Err(invalid(format!("The data type {other} is not supported."))),
        }?;
        if !self.tags.is_empty() && self.overwrite == Some(true) {
            return Err(invalid(
                "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please \
                 remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
                 RemoveTagsFromResource.",
            ));
        }
        Ok(())
    }

    /// What there is already, and what follows from it.
    fn against(&self, state: &RegionState) -> Result<Checked, ApiError> {
        let old = state.parameters.get(&self.name);
        match old {
            Some(_) if self.overwrite != Some(true) => Err(ApiError::new(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to \
                 true.",
            )),
            Some(old) if self.r#type.as_ref().is_some_and(|kind| *kind != old.kind) => {
                Err(ApiError::new(
                    "HierarchyTypeMismatchException",
                    format!(
                        "The type of a parameter cannot be changed: it is {}.",
                        old.kind
                    ),
                ))
            }
            None if self.r#type.is_none() => Err(invalid(
                "A parameter type is required when you create a parameter.",
            )),
            None if state.parameters.len() >= MOST => Err(ApiError::new(
                "ParameterLimitExceeded",
                format!("There are {MOST} parameters in this region already."),
            )),
            _ => Ok(()),
        }?;
        let tier = self.tier_beside(old)?;
        let newest = old.and_then(OwnParameter::newest);
        let version = newest.map_or(1, |newest| newest.number + 1);
        Ok(Checked { version, tier })
    }

    fn tier_beside(&self, old: Option<&OwnParameter>) -> Result<&'static str, ApiError> {
        let advanced = match self.tier.as_deref() {
            Some("Advanced") => true,
            Some("Intelligent-Tiering") => self.value.len() > STANDARD,
            // One that is advanced stays so.
            _ => old.is_some_and(|old| old.tier == "Advanced"),
        };
        let (tier, longest) = if advanced {
            ("Advanced", ADVANCED)
        } else {
            ("Standard", STANDARD)
        };
        if self.value.len() > longest {
            return Err(invalid(format!(
                "{tier} tier parameters support a maximum parameter value of {longest} characters."
            )));
        }
        Ok(tier)
    }

    fn put(&self, state: &mut RegionState, tier: &str) {
        let own = state
            .parameters
            .entry(self.name.clone())
            .or_insert_with(|| OwnParameter {
                name: self.name.clone(),
                kind: self.r#type.clone().unwrap_or_default(),
                data_type: TEXT.to_owned(),
                tier: String::new(),
                description: None,
                tags: tags::collect(&self.tags),
                versions: Vec::new(),
            });
        tier.clone_into(&mut own.tier);
        if let Some(data_type) = &self.data_type {
            data_type.clone_into(&mut own.data_type);
        }
        if self.description.is_some() {
            own.description.clone_from(&self.description);
        }
        let number = own.newest().map_or(1, |newest| newest.number + 1);
        own.versions.push(ParameterVersion {
            number,
            value: self.value.clone(),
            modified: Timestamp::now(),
        });
        if own.versions.len() > VERSIONS {
            own.versions.remove(0);
        }
    }
}

pub(in crate::ssm) fn delete_parameter(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: DeleteParameter = call.input()?;
    call.change(|state| state.parameters.remove(&input.name))
        .map(|_| Reply::saved(json!({})))
        .ok_or_else(|| ApiError::new("ParameterNotFound", ""))
}

pub(in crate::ssm) fn delete_parameters(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: DeleteParameters = call.input()?;
    check::length("names", input.names.len(), 1..=10)?;
    let (deleted, unknown): (Vec<String>, Vec<String>) = call.change(|state| {
        let names = input.names.into_iter();
        names.partition(|name| state.parameters.remove(name).is_some())
    });
    Ok(Reply::saved(
        json!({ "DeletedParameters": deleted, "InvalidParameters": unknown }),
    ))
}
