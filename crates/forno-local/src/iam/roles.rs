//! Roles.

use super::document::{self, Kind};
use super::{
    Call, conflict, exists, invalid, limit, name_of, no_such, page, path_of, require, tags, time,
    write_page,
};
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::state::iam::Role;

const LONGEST_NAME: usize = 64;
/// IAM's quota for a trust policy, unless the account has a greater one.
const LONGEST_TRUST: usize = 2048;

pub(super) fn create(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let params = call.params.clone();
    let name = name_of(&params, "RoleName", LONGEST_NAME)?;
    let path = path_of(&params, "Path")?;
    let trust = require(&params, "AssumeRolePolicyDocument")?;
    document::check(trust, Kind::Trust)?;
    if document::size(trust) > LONGEST_TRUST {
        return Err(limit(format!(
            "Cannot exceed quota for ACLSizePerRole: {LONGEST_TRUST}"
        )));
    }
    let longest = params.number("MaxSessionDuration")?.unwrap_or(3600);
    if !(3600..=43_200).contains(&longest) {
        return Err(invalid("MaxSessionDuration must be between 3600 and 43200"));
    }
    let tags = tags::read(&params)?;
    let role = Role {
        name: name.to_owned(),
        id: id_of(name),
        path: path.to_owned(),
        created: call.now,
        trust: trust.to_owned(),
        description: params.given("Description").map(str::to_owned),
        longest,
        boundary: params.given("PermissionsBoundary").map(str::to_owned),
        policies: std::collections::BTreeMap::new(),
        attached: std::collections::BTreeSet::new(),
        tags,
    };
    if call.iam.roles.contains_key(name) {
        return Err(exists(format!("Role with name {name} already exists.")));
    }
    call.commit()?;
    xml.group("Role", |xml| write(xml, &role, true));
    call.iam.roles.insert(name.to_owned(), role);
    Ok(())
}

/// As the sessions of a role have it.
fn id_of(name: &str) -> String {
    format!(
        "AROA{:A<16.16}",
        name.to_ascii_uppercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "")
    )
}

/// The role that a call names.
pub(super) fn named<'w>(call: &'w mut Call<'_>) -> Result<&'w mut Role, ApiError> {
    let name = name_of(&call.params, "RoleName", LONGEST_NAME)?;
    let role = call.iam.roles.get_mut(name);
    role.ok_or_else(|| no_such(format!("The role with name {name} cannot be found.")))
}

pub(super) fn get(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let role = named(call)?;
    xml.group("Role", |xml| write(xml, role, true));
    Ok(())
}

pub(super) fn list(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let prefix = call.params.given("PathPrefix").unwrap_or("/");
    let roles: Vec<&Role> = call
        .iam
        .roles
        .values()
        .filter(|role| role.path.starts_with(prefix))
        .collect();
    let (roles, marker) = page(&call.params, roles, |role| role.name.clone())?;
    xml.group("Roles", |xml| {
        for role in roles {
            // As in IAM, without their tags.
            xml.group("member", |xml| write(xml, role, false));
        }
    });
    write_page(xml, marker);
    Ok(())
}

pub(super) fn list_tags(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let tags = named(call)?.tags.clone();
    tags::write_all(xml, &tags);
    write_page(xml, None);
    Ok(())
}

pub(super) fn delete(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let role = named(call)?.clone();
    let name = &role.name;
    if call
        .iam
        .profiles
        .values()
        .any(|profile| profile.role.as_ref() == Some(name))
    {
        return Err(conflict("remove roles from instance profile"));
    }
    if !role.attached.is_empty() {
        return Err(conflict("detach all policies"));
    }
    if !role.policies.is_empty() {
        return Err(conflict("delete policies"));
    }
    call.commit()?;
    call.iam.roles.remove(name);
    Ok(())
}

pub(super) fn write(xml: &mut Xml, role: &Role, in_full: bool) {
    xml.text("Path", &role.path)
        .text("RoleName", &role.name)
        .text("RoleId", &role.id)
        .text("Arn", role.arn())
        .text("CreateDate", time(role.created))
        .text("AssumeRolePolicyDocument", document::written(&role.trust))
        .maybe("Description", role.description.as_ref())
        .text("MaxSessionDuration", role.longest);
    if !in_full {
        return;
    }
    if let Some(boundary) = &role.boundary {
        xml.group("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "PermissionsBoundaryPolicy")
                .text("PermissionsBoundaryArn", boundary);
        });
    }
    tags::write(xml, &role.tags);
}
