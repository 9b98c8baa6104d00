//! IAM as far as machines need it: roles, their policies, and instance profiles. Policies are
//! checked for their form, kept and shown; nobody is held to them.

mod document;
mod policies;
mod profiles;
mod roles;
mod tags;

use http::StatusCode;
use jiff::Timestamp;

use crate::api::error::ApiError;
use crate::api::params::{Form, Level};
use crate::api::xml::Xml;
use crate::state::iam::Iam;

/// A call while it is carried out.
pub(crate) struct Call<'a> {
    pub(crate) form: &'a Form,
    pub(crate) params: Level<'a>,
    pub(crate) iam: &'a mut Iam,
    pub(crate) now: Timestamp,
    /// Whether anything was changed.
    pub(crate) changed: bool,
}

/// Carries out a call and writes the inside of its result.
type Action = fn(&mut Call<'_>, &mut Xml) -> Result<(), ApiError>;

/// All of them, in the order of their names.
const ACTIONS: &[(&str, Action)] = &[
    ("AddRoleToInstanceProfile", profiles::add_role),
    ("AttachRolePolicy", policies::attach),
    ("CreateInstanceProfile", profiles::create),
    ("CreateRole", roles::create),
    ("DeleteInstanceProfile", profiles::delete),
    ("DeleteRole", roles::delete),
    ("DeleteRolePolicy", policies::delete),
    ("DetachRolePolicy", policies::detach),
    ("GetInstanceProfile", profiles::get),
    ("GetRole", roles::get),
    ("GetRolePolicy", policies::get),
    ("ListAttachedRolePolicies", policies::list_attached),
    ("ListInstanceProfiles", profiles::list),
    ("ListInstanceProfilesForRole", profiles::list_for_role),
    ("ListRolePolicies", policies::list),
    ("ListRoleTags", roles::list_tags),
    ("ListRoles", roles::list),
    ("PutRolePolicy", policies::put),
    ("RemoveRoleFromInstanceProfile", profiles::remove_role),
];

pub(crate) fn find(name: &str) -> Option<Action> {
    let known = ACTIONS.iter().find(|(known, _)| *known == name);
    known.map(|(_, action)| *action)
}

/// The names of all actions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

/// Whether a reply has no result, as those of actions that only change something.
pub(crate) fn has_result(action: &str) -> bool {
    ["Create", "Get", "List"]
        .iter()
        .any(|verb| action.starts_with(verb))
}

impl Call<'_> {
    /// To be passed between the last check and the first change: refuses parameters that
    /// nothing has read.
    fn commit(&mut self) -> Result<(), ApiError> {
        self.refuse_unread()?;
        self.changed = true;
        Ok(())
    }

    pub(crate) fn refuse_unread(&self) -> Result<(), ApiError> {
        match self.form.unread() {
            None => Ok(()),
            Some(name) => Err(invalid(format!(
                "The parameter {name} is not known to the pocket EC2"
            ))),
        }
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn require<'a>(params: &Level<'a>, name: &str) -> Result<&'a str, ApiError> {
    params.given(name).ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// A name of up to `longest` characters.
fn name_of<'a>(params: &Level<'a>, key: &str, longest: usize) -> Result<&'a str, ApiError> {
    let name = require(params, key)?;
    let fine = name.len() <= longest
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
    if fine {
        return Ok(name);
    }
    Err(invalid(format!(
        "The specified value for {key} is invalid. It must contain only alphanumeric characters and/or the \
         following: +=,.@_-, at most {longest} of them"
    )))
}

/// `/`, or words between slashes.
fn path_of<'a>(params: &Level<'a>, key: &str) -> Result<&'a str, ApiError> {
    let path = params.given(key).unwrap_or("/");
    let fine = path.starts_with('/')
        && path.ends_with('/')
        && !path.contains("//")
        && path.len() <= 512
        && path.bytes().all(|b| b.is_ascii_graphic());
    if fine {
        return Ok(path);
    }
    Err(invalid(format!(
        "The specified value for {key} is invalid. It must begin and end with / and contain only alphanumeric \
         characters and/or / characters."
    )))
}

fn exists(message: String) -> ApiError {
    ApiError::new("EntityAlreadyExists", message).with_status(StatusCode::CONFLICT)
}

fn no_such(message: String) -> ApiError {
    ApiError::new("NoSuchEntity", message).with_status(StatusCode::NOT_FOUND)
}

fn conflict(why: &str) -> ApiError {
    ApiError::new(
        "DeleteConflict",
        format!("Cannot delete entity, must {why} first."),
    )
    .with_status(StatusCode::CONFLICT)
}

fn limit(message: String) -> ApiError {
    ApiError::new("LimitExceeded", message).with_status(StatusCode::CONFLICT)
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The part of a list that a call asks for, in the order of names; a marker is the last
/// name that was given out.
fn page<T>(
    params: &Level<'_>,
    items: Vec<T>,
    name: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let size = params.number("MaxItems")?.unwrap_or(100);
    let size = usize::try_from(size)
        .ok()
        .filter(|size| (1..=1000).contains(size));
    let size = size.ok_or_else(|| invalid("MaxItems must be between 1 and 1000"))?;
    let after = params.given("Marker").unwrap_or_default();
    let mut rest: Vec<T> = items
        .into_iter()
        .filter(|item| name(item).as_str() > after)
        .collect();
    let more = rest.len() > size;
    rest.truncate(size);
    let marker = rest.last().filter(|_| more).map(name);
    Ok((rest, marker))
}

fn write_page(xml: &mut Xml, marker: Option<String>) {
    xml.text("IsTruncated", marker.is_some())
        .maybe("Marker", marker);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_on_the_page() {
        assert!(ACTIONS.is_sorted_by_key(|(name, _)| name));
        let page = include_str!("../../../../docs/PROTOCOL.md");
        for name in names() {
            assert!(
                page.contains(&format!("`{name}`")),
                "PROTOCOL.md lacks {name}"
            );
        }
    }
}
