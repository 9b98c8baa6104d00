//! What a role may do: its own policies and managed ones.

use super::document::{self, Kind};
use super::{Call, limit, name_of, no_such, page, require, roles, write_page};
use crate::api::error::ApiError;
use crate::api::xml::Xml;

const LONGEST_NAME: usize = 128;
/// IAM's quota for all policies of a role's own together.
const MOST_TEXT: usize = 10_240;
/// IAM's quota, unless the account has a greater one.
const MOST_ATTACHED: usize = 10;

pub(super) fn put(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let params = call.params.clone();
    let name = name_of(&params, "PolicyName", LONGEST_NAME)?;
    let text = require(&params, "PolicyDocument")?;
    document::check(text, Kind::Permissions)?;
    let role = roles::named(call)?;
    let others = role.policies.iter().filter(|(known, _)| *known != name);
    let before: usize = others.map(|(_, text)| document::size(text)).sum();
    if before + document::size(text) > MOST_TEXT {
        let role = &role.name;
        return Err(limit(format!(
            "Maximum policy size of {MOST_TEXT} bytes exceeded for role {role}"
        )));
    }
    call.commit()?;
    let role = roles::named(call)?;
    role.policies.insert(name.to_owned(), text.to_owned());
    Ok(())
}

pub(super) fn get(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let name = name_of(&call.params, "PolicyName", LONGEST_NAME)?;
    let role = roles::named(call)?;
    let text = role.policies.get(name).ok_or_else(|| missing(name))?;
    xml.text("RoleName", &role.name)
        .text("PolicyName", name)
        .text("PolicyDocument", document::written(text));
    Ok(())
}

fn missing(name: &str) -> ApiError {
    no_such(format!("The role policy with name {name} cannot be found."))
}

pub(super) fn list(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let names: Vec<String> = roles::named(call)?.policies.keys().cloned().collect();
    let (names, marker) = page(&call.params, names, String::clone)?;
    xml.group("PolicyNames", |xml| {
        for name in names {
            xml.text("member", name);
        }
    });
    write_page(xml, marker);
    Ok(())
}

pub(super) fn delete(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let name = name_of(&call.params, "PolicyName", LONGEST_NAME)?.to_owned();
    if !roles::named(call)?.policies.contains_key(&name) {
        return Err(missing(&name));
    }
    call.commit()?;
    roles::named(call)?.policies.remove(&name);
    Ok(())
}

/// AWS's own are all there; the account has none.
fn managed(call: &Call<'_>) -> Result<String, ApiError> {
    let arn = require(&call.params, "PolicyArn")?;
    if arn.starts_with("arn:aws:iam::aws:policy/") {
        return Ok(arn.to_owned());
    }
    if !arn.starts_with("arn:") {
        return Err(ApiError::new(
            "InvalidInput",
            format!("ARN {arn} is not valid."),
        ));
    }
    Err(no_such(format!(
        "Policy {arn} does not exist or is not attachable."
    )))
}

pub(super) fn attach(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let arn = managed(call)?;
    let role = roles::named(call)?;
    if role.attached.len() >= MOST_ATTACHED && !role.attached.contains(&arn) {
        return Err(limit(format!(
            "Cannot exceed quota for PoliciesPerRole: {MOST_ATTACHED}"
        )));
    }
    call.commit()?;
    roles::named(call)?.attached.insert(arn);
    Ok(())
}

pub(super) fn detach(call: &mut Call<'_>, _: &mut Xml) -> Result<(), ApiError> {
    let arn = require(&call.params, "PolicyArn")?.to_owned();
    if !roles::named(call)?.attached.contains(&arn) {
        return Err(no_such(format!("Policy {arn} was not found.")));
    }
    call.commit()?;
    roles::named(call)?.attached.remove(&arn);
    Ok(())
}

pub(super) fn list_attached(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let arns: Vec<String> = roles::named(call)?.attached.iter().cloned().collect();
    let prefix = call.params.given("PathPrefix").unwrap_or("/");
    let path = |arn: &str| {
        arn.split_once(":policy")
            .map_or("/", |(_, path)| path)
            .to_owned()
    };
    let arns = arns.into_iter().filter(|arn| path(arn).starts_with(prefix));
    let (arns, marker) = page(&call.params, arns.collect(), String::clone)?;
    xml.group("AttachedPolicies", |xml| {
        for arn in arns {
            xml.group("member", |xml| {
                xml.text("PolicyName", arn.rsplit('/').next().unwrap_or_default())
                    .text("PolicyArn", &arn);
            });
        }
    });
    write_page(xml, marker);
    Ok(())
}
