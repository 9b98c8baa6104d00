//! Instance profiles: what a machine gets a role by.

use super::{
    Call, conflict, exists, limit, name_of, no_such, page, path_of, roles, tags, time, write_page,
};
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::state::iam::{Iam, Profile};

const LONGEST_NAME: usize = 128;

pub(super) fn create(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let params = call.params.clone();
    let name = name_of(&params, "InstanceProfileName", LONGEST_NAME)?;
    let profile = Profile {
        name: name.to_owned(),
        path: path_of(&params, "Path")?.to_owned(),
        created: call.now,
        role: None,
        tags: tags::read(&params)?,
    };
    if call.iam.profiles.contains_key(name) {
        return Err(exists(format!("Instance Profile {name} already exists.")));
    }
    call.commit()?;
    xml.group("InstanceProfile", |xml| write(xml, call.iam, &profile));
    call.iam.gone.remove(name);
    call.iam.profiles.insert(name.to_owned(), profile);
    Ok(())
}

fn named<'w>(call: &'w mut Call<'_>) -> Result<&'w mut Profile, ApiError> {
    let name = name_of(&call.params, "InstanceProfileName", LONGEST_NAME)?;
    let profile = call.iam.profiles.get_mut(name);
    profile.ok_or_else(|| no_such(format!("Instance Profile {name} cannot be found.")))
}

pub(super) fn get(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let profile = named(call)?.clone();
    xml.group("InstanceProfile", |xml| write(xml, call.iam, &profile));
    Ok(())
}

pub(super) fn list(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let prefix = call.params.given("PathPrefix").unwrap_or("/");
    write_list(call, xml, |profile| profile.path.starts_with(prefix))
}

pub(super) fn list_for_role(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let role = roles::named(call)?.name.clone();
    write_list(call, xml, |profile| profile.role.as_ref() == Some(&role))
}

fn write_list(
    call: &Call<'_>,
    xml: &mut Xml,
    which: impl Fn(&Profile) -> bool,
) -> Result<(), ApiError> {
    let all = call.iam.profiles.values().filter(|profile| which(profile));
    let (profiles, marker) = page(&call.params, all.collect(), |one| one.name.clone())?;
    xml.group("InstanceProfiles", |xml| {
        for profile in profiles {
            xml.group("member", |xml| write(xml, call.iam, profile));
        }
    });
    write_page(xml, marker);
    Ok(())
}

pub(super) fn delete(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let profile = named(call)?.clone();
    if profile.role.is_some() {
        return Err(conflict("remove roles from instance profile"));
    }
    call.commit()?;
    call.iam.profiles.remove(&profile.name);
    call.iam.gone.insert(profile.name);
    Ok(())
}

pub(super) fn add_role(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let role = roles::named(call)?.name.clone();
    if named(call)?.role.is_some() {
        return Err(limit(
            "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1".to_owned(),
        ));
    }
    call.commit()?;
    named(call)?.role = Some(role);
    Ok(())
}

pub(super) fn remove_role(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let role = roles::named(call)?.name.clone();
    let profile = named(call)?;
    if profile.role.as_ref() != Some(&role) {
        let name = &profile.name;
        return Err(no_such(format!(
            "The role {role} is not in the instance profile {name}."
        )));
    }
    call.commit()?;
    named(call)?.role = None;
    Ok(())
}

fn write(xml: &mut Xml, iam: &Iam, profile: &Profile) {
    xml.text("Path", &profile.path)
        .text("InstanceProfileName", &profile.name)
        .text("InstanceProfileId", profile.id())
        .text("Arn", profile.arn())
        .text("CreateDate", time(profile.created))
        .group("Roles", |xml| {
            let role = profile.role.as_ref().and_then(|name| iam.roles.get(name));
            if let Some(role) = role {
                xml.group("member", |xml| roles::write(xml, role, false));
            }
        });
    tags::write(xml, &profile.tags);
}
