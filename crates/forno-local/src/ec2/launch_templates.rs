//! Launch templates: named, versioned descriptions of a launch. They are kept and
//! shown, so that whoever removes images sees which are still named by one; nothing
//! is launched from them here.

use std::collections::BTreeSet;

use super::call::{Call, iso};
use super::tags::{TagSpecs, write_tags};
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::world::{
    ACCOUNT, LaunchTemplate, LaunchTemplateData, LaunchTemplateVersion, RegionState,
};

const LONGEST_DESCRIPTION: usize = 255;
const SIZES: std::ops::RangeInclusive<i64> = 1..=200;

pub(super) fn create_launch_template(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let params = call.params.clone();
    let digest = call.form.digest_without(&["ClientToken", "DryRun"]);
    let token = token(&params)?;
    let made_before = token.and_then(|token| {
        let templates = call.state().launch_templates.values();
        templates
            .filter(|template| template.client_token.as_deref() == Some(token))
            .map(|template| (template.id.clone(), template.request_digest.clone()))
            .next()
    });
    if let Some((id, before)) = made_before {
        if before != digest {
            return Err(ApiError::new(
                "IdempotentParameterMismatch",
                "The client token you have provided is associated with a resource that was created with different parameters.",
            ));
        }
        call.form.all_read();
        call.commit()?;
        write_one(xml, call.state(), &id);
        return Ok(());
    }
    let name = fresh_name(call, &params)?;
    let version = version(&params, 1, call)?;
    let tags = TagSpecs::read(&params, &[Resource::LaunchTemplate])?;
    call.commit()?;
    let template = LaunchTemplate {
        id: Resource::LaunchTemplate.fresh(),
        name,
        created: call.now,
        client_token: token.map(str::to_owned),
        request_digest: digest,
        default: 1,
        versions: vec![version],
    };
    let id = template.id.clone();
    let state = call.state();
    tags.apply(state, Resource::LaunchTemplate, &id);
    let warnings = warnings(state, &template.versions[0].data);
    state.launch_templates.insert(id.clone(), template);
    write_one(xml, state, &id);
    write_warnings(xml, &warnings);
    Ok(())
}

pub(super) fn create_launch_template_version(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let params = call.params.clone();
    // A repeated version is another version: nobody is harmed by one too many.
    token(&params)?;
    let id = named(call, &params)?.ok_or_else(|| ApiError::missing("LaunchTemplateId"))?;
    let number = call.state().launch_templates[&id].latest() + 1;
    let version = version(&params, number, call)?;
    call.commit()?;
    let state = call.state();
    let warnings = warnings(state, &version.data);
    if let Some(template) = state.launch_templates.get_mut(&id) {
        template.versions.push(version);
    }
    let template = &state.launch_templates[&id];
    if let Some(version) = template.versions.last() {
        xml.group("launchTemplateVersion", |xml| {
            write_version(xml, template, version);
        });
    }
    write_warnings(xml, &warnings);
    Ok(())
}

pub(super) fn describe_launch_templates(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let known = ["create-time", "launch-template-name"];
    let filters = Filters::read(&call.params, &known, true)?;
    let page = Page::read(call.form, &call.params, SIZES)?;
    let (ids, names) = (
        call.params.list("LaunchTemplateId"),
        call.params.list("LaunchTemplateName"),
    );
    let state = call.state();
    for id in &ids {
        by_id(state, id)?;
    }
    for name in &names {
        by_name(state, name)?;
    }
    let mut templates: Vec<&LaunchTemplate> = state.launch_templates.values().collect();
    templates.retain(|template| {
        let asked = ids.is_empty() && names.is_empty()
            || ids.contains(&template.id.as_str())
            || names.contains(&template.name.as_str());
        asked
            && filters.select(state.tags_of(&template.id), |filter| {
                vec![match filter {
                    "create-time" => iso(template.created),
                    _ => template.name.clone(),
                }]
            })
    });
    let (templates, next) = page.cut(templates, |template| template.id.clone());
    xml.list("launchTemplates", templates, |xml, template| {
        write_template(xml, state, template);
    });
    xml.maybe("nextToken", next);
    Ok(())
}

const FILTERS: &[&str] = &[
    "create-time",
    "ebs-optimized",
    "iam-instance-profile",
    "image-id",
    "instance-type",
    "is-default-version",
];

pub(super) fn describe_launch_template_versions(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let params = call.params.clone();
    let filters = Filters::read(&params, FILTERS, false)?;
    let page = Page::read(call.form, &params, SIZES)?;
    if params.flag("ResolveAlias")? == Some(true) {
        return Err(ApiError::unsupported("ResolveAlias"));
    }
    let one = named(call, &params)?;
    let wanted = Wanted::read(&params, one.is_some())?;
    let state = call.state();
    let mut found = Vec::new();
    for template in state.launch_templates.values() {
        if one.as_ref().is_some_and(|id| *id != template.id) {
            continue;
        }
        let numbers = wanted.of(template)?;
        found.extend(
            template
                .versions
                .iter()
                .filter(|version| numbers.contains(&version.number))
                .map(|version| (template, version)),
        );
    }
    found.retain(|(template, version)| {
        filters.select(std::iter::empty(), |filter| {
            let data = &version.data;
            match filter {
                "create-time" => vec![iso(version.created)],
                "ebs-optimized" => data.ebs_optimized.iter().map(bool::to_string).collect(),
                "iam-instance-profile" => data.instance_profile.iter().cloned().collect(),
                "image-id" => data.image.iter().cloned().collect(),
                "instance-type" => data.instance_type.iter().cloned().collect(),
                _ => vec![(version.number == template.default).to_string()],
            }
        })
    });
    let key = |(template, version): &(&LaunchTemplate, &LaunchTemplateVersion)| {
        format!("{} {:09}", template.id, version.number)
    };
    let (versions, next) = page.cut(found, key);
    xml.list(
        "launchTemplateVersionSet",
        versions,
        |xml, (template, version)| write_version(xml, template, version),
    );
    xml.maybe("nextToken", next);
    Ok(())
}

pub(super) fn delete_launch_template(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let params = call.params.clone();
    let id = named(call, &params)?.ok_or_else(|| ApiError::missing("LaunchTemplateId"))?;
    call.commit()?;
    let state = call.state();
    write_one(xml, state, &id);
    state.launch_templates.remove(&id);
    state.tags.remove(&id);
    Ok(())
}

/// Which versions of a template a call is about.
enum Wanted<'a> {
    Some(Vec<&'a str>),
    Range(Option<u32>, Option<u32>),
}

impl<'a> Wanted<'a> {
    fn read(params: &Level<'a>, one: bool) -> Result<Self, ApiError> {
        let some = params.list("LaunchTemplateVersion");
        let bound = |name| {
            let number = params.number(name)?;
            Ok::<_, ApiError>(number.and_then(|number| u32::try_from(number).ok()))
        };
        let range = (bound("MinVersion")?, bound("MaxVersion")?);
        let of_all = !some.is_empty() && some.iter().all(|version| version.starts_with('$'));
        if !one && !of_all {
            // Of all templates only these two can be asked for.
            return Err(ApiError::missing("LaunchTemplateId"));
        }
        if some.is_empty() {
            return Ok(Self::Range(range.0, range.1));
        }
        if range != (None, None) {
            return Err(ApiError::combination(
                "MinVersion and MaxVersion cannot be used together with LaunchTemplateVersion",
            ));
        }
        Ok(Self::Some(some))
    }

    fn of(&self, template: &LaunchTemplate) -> Result<BTreeSet<u32>, ApiError> {
        let there = || template.versions.iter().map(|version| version.number);
        match self {
            Self::Range(from, to) => Ok(there()
                .filter(|number| {
                    from.is_none_or(|from| *number >= from) && to.is_none_or(|to| *number <= to)
                })
                .collect()),
            Self::Some(versions) => versions
                .iter()
                .map(|version| match *version {
                    "$Latest" => Ok(template.latest()),
                    "$Default" => Ok(template.default),
                    number => there()
                        .find(|known| known.to_string() == number)
                        .ok_or_else(|| {
                            ApiError::new(
                                "InvalidLaunchTemplateId.VersionNotFound",
                                format!(
                                    "Could not find launch template version {number} of {}.",
                                    template.id
                                ),
                            )
                        }),
                })
                .collect(),
        }
    }
}

fn token<'a>(params: &Level<'a>) -> Result<Option<&'a str>, ApiError> {
    let token = params.given("ClientToken");
    if token.is_some_and(|token| token.len() > 128 || !token.is_ascii()) {
        return Err(ApiError::invalid(
            "The client token must be at most 128 ASCII characters",
        ));
    }
    Ok(token)
}

fn fresh_name(call: &mut Call<'_>, params: &Level<'_>) -> Result<String, ApiError> {
    let name = params.require("LaunchTemplateName")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "().-/_".contains(c);
    if !(3..=128).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.MalformedException",
            "Launch template names must be between 3 and 128 characters, and may contain letters, numbers, and the \
             following characters: - ( ) . / _.",
        ));
    }
    if call.state().launch_template_named(name).is_some() {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    Ok(name.to_owned())
}

/// The template that a call names, if it names one.
fn named(call: &mut Call<'_>, params: &Level<'_>) -> Result<Option<String>, ApiError> {
    let (id, name) = (
        params.get("LaunchTemplateId"),
        params.get("LaunchTemplateName"),
    );
    match (id, name) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::combination(
            "You must specify either the launch template ID or the launch template name, but not both",
        )),
        (Some(id), None) => by_id(call.state(), id).map(Some),
        (None, Some(name)) => by_name(call.state(), name).map(Some),
    }
}

fn by_id(state: &RegionState, id: &str) -> Result<String, ApiError> {
    Resource::LaunchTemplate.check(id)?;
    if state.launch_templates.contains_key(id) {
        Ok(id.to_owned())
    } else {
        Err(Resource::LaunchTemplate.not_found(id))
    }
}

fn by_name(state: &RegionState, name: &str) -> Result<String, ApiError> {
    state
        .launch_template_named(name)
        .map(|template| template.id.clone())
        .ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateName.NotFoundException",
                format!(
                    "The specified launch template, with template name {name}, does not exist."
                ),
            )
        })
}

fn version(
    params: &Level<'_>,
    number: u32,
    call: &Call<'_>,
) -> Result<LaunchTemplateVersion, ApiError> {
    let description = params.given("VersionDescription");
    if description.is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
        return Err(ApiError::invalid(format!(
            "The version description must be at most {LONGEST_DESCRIPTION} characters"
        )));
    }
    let data = params
        .group("LaunchTemplateData")
        .ok_or_else(|| ApiError::missing("LaunchTemplateData"))?;
    Ok(LaunchTemplateVersion {
        number,
        description: description.map(str::to_owned),
        created: call.now,
        data: read_data(&data)?,
    })
}

fn read_data(params: &Level<'_>) -> Result<LaunchTemplateData, ApiError> {
    let text = |name: &str| params.get(name).map(str::to_owned);
    let texts = |name: &str| params.list(name).into_iter().map(str::to_owned).collect();
    Ok(LaunchTemplateData {
        image: text("ImageId"),
        instance_type: text("InstanceType"),
        key_name: text("KeyName"),
        instance_profile: params
            .group("IamInstanceProfile")
            .and_then(|profile| profile.get("Arn").or_else(|| profile.get("Name")))
            .map(str::to_owned),
        security_group_ids: texts("SecurityGroupId"),
        security_groups: texts("SecurityGroup"),
        user_data: text("UserData"),
        ebs_optimized: params.flag("EbsOptimized")?,
        protect_termination: params.flag("DisableApiTermination")?,
        protect_stop: params.flag("DisableApiStop")?,
        on_shutdown: params
            .choice("InstanceInitiatedShutdownBehavior", &["stop", "terminate"])?
            .map(str::to_owned),
    })
}

/// What is wrong with a template is no reason to refuse it: a later launch is.
fn warnings(state: &RegionState, data: &LaunchTemplateData) -> Vec<ApiError> {
    let mut warnings = Vec::new();
    if let Some(image) = data
        .image
        .as_deref()
        .filter(|image| !image.starts_with("resolve:ssm:"))
    {
        warnings.extend(Resource::Image.check(image).err().or_else(|| {
            (!state.images.contains_key(image)).then(|| Resource::Image.not_found(image))
        }));
    }
    if let Some(key) = &data.key_name
        && state.key_named(key).is_none()
    {
        warnings.push(Resource::KeyPair.not_found(key));
    }
    warnings
}

fn write_warnings(xml: &mut Xml, warnings: &[ApiError]) {
    if !warnings.is_empty() {
        xml.group("warning", |xml| {
            xml.list("errorSet", warnings, |xml, warning| {
                xml.text("code", warning.code())
                    .text("message", warning.message());
            });
        });
    }
}

fn write_one(xml: &mut Xml, state: &RegionState, id: &str) {
    if let Some(template) = state.launch_templates.get(id) {
        xml.group("launchTemplate", |xml| write_template(xml, state, template));
    }
}

fn created_by() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/forno")
}

fn write_template(xml: &mut Xml, state: &RegionState, template: &LaunchTemplate) {
    xml.text("launchTemplateId", &template.id)
        .text("launchTemplateName", &template.name)
        .text("createTime", iso(template.created))
        .text("createdBy", created_by())
        .text("defaultVersionNumber", template.default)
        .text("latestVersionNumber", template.latest());
    write_tags(xml, state.tags_of(&template.id));
}

fn write_version(xml: &mut Xml, template: &LaunchTemplate, version: &LaunchTemplateVersion) {
    let data = &version.data;
    xml.text("launchTemplateId", &template.id)
        .text("launchTemplateName", &template.name)
        .text("versionNumber", version.number)
        .maybe("versionDescription", version.description.as_ref())
        .text("createTime", iso(version.created))
        .text("createdBy", created_by())
        .text("defaultVersion", version.number == template.default)
        .group("launchTemplateData", |xml| {
            xml.maybe("ebsOptimized", data.ebs_optimized);
            if let Some(profile) = &data.instance_profile {
                let name = if profile.starts_with("arn:") {
                    "arn"
                } else {
                    "name"
                };
                xml.group("iamInstanceProfile", |xml| {
                    xml.text(name, profile);
                });
            }
            xml.maybe("imageId", data.image.as_ref())
                .maybe("instanceType", data.instance_type.as_ref())
                .maybe("keyName", data.key_name.as_ref())
                .maybe("disableApiTermination", data.protect_termination)
                .maybe("disableApiStop", data.protect_stop)
                .maybe(
                    "instanceInitiatedShutdownBehavior",
                    data.on_shutdown.as_ref(),
                )
                .maybe("userData", data.user_data.as_ref());
            if !data.security_group_ids.is_empty() {
                xml.leaves("securityGroupIdSet", &data.security_group_ids);
            }
            if !data.security_groups.is_empty() {
                xml.leaves("securityGroupSet", &data.security_groups);
            }
        });
}
