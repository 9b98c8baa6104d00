//! Security groups. Their rules are kept, checked and shown; machines answer on
//! loopback addresses, which no rule needs to protect.

use super::call::{Call, arn};
use super::group_rules::{in_words, read, write_permissions};
use super::tags::{TagSpecs, write_tags};
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::network::vpc_id;
use crate::state::regions::Region;
use crate::state::world::{
    ACCOUNT, InstanceState, Peer, RegionState, Rule, RuleMatch, SecurityGroup,
};

/// EC2's own limit on the rules of a group.
const MOST_RULES: usize = 60;

pub(super) fn create_security_group(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let name = call.params.require("GroupName")?;
    let description = call.params.require("GroupDescription")?;
    let tags = TagSpecs::read(&call.params, &[Resource::SecurityGroup])?;
    let region = call.region;
    // Clients of old send an empty one.
    if let Some(vpc) = call.params.given("VpcId") {
        Resource::Vpc.check(vpc)?;
        if vpc != vpc_id(region) {
            return Err(Resource::Vpc.not_found(vpc));
        }
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    for (field, text) in [("groupName", name), ("groupDescription", description)] {
        if text.len() > 255 || !text.chars().all(allowed) {
            return Err(ApiError::invalid(format!(
                "Invalid value '{text}' for {field}. Valid values are up to 255 of a-z, A-Z, 0-9, spaces, and \
                 ._-:/()#,@[]+=&;{{}}!$*"
            )));
        }
    }
    if name.starts_with("sg-") {
        return Err(ApiError::invalid(format!(
            "Invalid value '{name}' for groupName. Group names may not be in the format sg-*"
        )));
    }
    if name == "default" {
        return Err(ApiError::new(
            "InvalidGroup.Reserved",
            "The security group 'default' is reserved, and cannot be created by a user",
        ));
    }
    if call.state().group_named(name).is_some() {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!(
                "The security group '{name}' already exists for VPC '{}'",
                vpc_id(region)
            ),
        ));
    }
    call.commit()?;
    let id = Resource::SecurityGroup.fresh();
    let group = SecurityGroup {
        id: id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        ingress: Vec::new(),
    };
    let state = call.state();
    state.groups.insert(id.clone(), group);
    tags.apply(state, Resource::SecurityGroup, &id);
    xml.text("return", true).text("groupId", &id);
    write_tags(xml, state.tags_of(&id));
    xml.text(
        "securityGroupArn",
        arn(region, ACCOUNT, Resource::SecurityGroup, &id),
    );
    Ok(())
}

/// The group that a call names by id or by name.
fn named(call: &mut Call<'_>) -> Result<String, ApiError> {
    let (id, name) = (call.params.get("GroupId"), call.params.get("GroupName"));
    let state = call.state();
    match (id, name) {
        (Some(id), _) => {
            Resource::SecurityGroup.check(id)?;
            let group = state
                .groups
                .get(id)
                .ok_or_else(|| Resource::SecurityGroup.not_found(id))?;
            if name.is_some_and(|name| name != group.name) {
                return Err(ApiError::combination(
                    "GroupId and GroupName name different groups",
                ));
            }
            Ok(id.to_owned())
        }
        (None, Some(name)) => state
            .group_named(name)
            .map(|group| group.id.clone())
            .ok_or_else(|| Resource::SecurityGroup.not_found(name)),
        (None, None) => Err(ApiError::missing("GroupId")),
    }
}

pub(super) fn authorize_ingress(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = named(call)?;
    let tags = TagSpecs::read(&call.params, &[Resource::SecurityGroupRule])?;
    let params = call.params.clone();
    let wanted = read(&params, call.state())?;
    let group = &call.state().groups[&id];
    for (index, (rule, _)) in wanted.iter().enumerate() {
        if wanted[..index].iter().any(|(other, _)| other == rule) {
            return Err(ApiError::invalid(
                "The same permission must not appear multiple times",
            ));
        }
        if group.ingress.iter().any(|known| known.match_ == *rule) {
            return Err(ApiError::new(
                "InvalidPermission.Duplicate",
                format!("the specified rule \"{}\" already exists", in_words(rule)),
            ));
        }
    }
    if group.ingress.len() + wanted.len() > MOST_RULES {
        return Err(ApiError::new(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    call.commit()?;
    let region = call.region;
    let state = call.state();
    let made: Vec<Rule> = wanted
        .into_iter()
        .map(|(match_, description)| Rule {
            id: Resource::SecurityGroupRule.fresh(),
            match_,
            description,
        })
        .collect();
    for rule in &made {
        tags.apply(state, Resource::SecurityGroupRule, &rule.id);
    }
    if let Some(group) = state.groups.get_mut(&id) {
        group.ingress.extend(made.iter().cloned());
    }
    xml.text("return", true)
        .list("securityGroupRuleSet", &made, |xml, rule| {
            xml.text("securityGroupRuleId", &rule.id)
                .text("groupId", &id)
                .text("groupOwnerId", ACCOUNT);
            write_rule(xml, rule, region);
            xml.maybe("description", rule.description.as_ref());
            write_tags(xml, state.tags_of(&rule.id));
            xml.text(
                "securityGroupRuleArn",
                arn(region, ACCOUNT, Resource::SecurityGroupRule, &rule.id),
            );
        });
    Ok(())
}

fn write_rule(xml: &mut Xml, rule: &Rule, region: Region) {
    let (from, to) = rule.match_.ports.unwrap_or((-1, -1));
    xml.text("isEgress", false)
        .text("ipProtocol", &rule.match_.protocol)
        .text("fromPort", from)
        .text("toPort", to);
    match &rule.match_.peer {
        Peer::V4(cidr) => xml.text("cidrIpv4", cidr),
        Peer::V6(cidr) => xml.text("cidrIpv6", cidr),
        Peer::Group(id) => xml.group("referencedGroupInfo", |xml| {
            xml.text("groupId", id)
                .text("userId", ACCOUNT)
                .text("vpcId", vpc_id(region));
        }),
    };
}

pub(super) fn revoke_ingress(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = named(call)?;
    let rule_ids = call.params.list("SecurityGroupRuleId");
    let wanted: Vec<RuleMatch> = if rule_ids.is_empty() {
        let params = call.params.clone();
        read(&params, call.state())?
            .into_iter()
            .map(|(rule, _)| rule)
            .collect()
    } else {
        let group = &call.state().groups[&id];
        let find = |rule_id: &&str| {
            Resource::SecurityGroupRule.check(rule_id)?;
            let rule = group.ingress.iter().find(|rule| rule.id == **rule_id);
            rule.map(|rule| rule.match_.clone())
                .ok_or_else(|| Resource::SecurityGroupRule.not_found(rule_id))
        };
        rule_ids.iter().map(find).collect::<Result<_, _>>()?
    };
    let group = &call.state().groups[&id];
    if wanted
        .iter()
        .any(|rule| group.ingress.iter().all(|known| known.match_ != *rule))
    {
        return Err(ApiError::new(
            "InvalidPermission.NotFound",
            "The specified rule does not exist in this security group.",
        ));
    }
    call.commit()?;
    let state = call.state();
    let mut gone = Vec::new();
    if let Some(group) = state.groups.get_mut(&id) {
        gone.extend(
            group
                .ingress
                .extract_if(.., |rule| wanted.contains(&rule.match_)),
        );
    }
    for rule in &gone {
        state.tags.remove(&rule.id);
    }
    xml.text("return", true)
        .list("revokedSecurityGroupRuleSet", &gone, |xml, rule| {
            let (from, to) = rule.match_.ports.unwrap_or((-1, -1));
            xml.text("securityGroupRuleId", &rule.id)
                .text("groupId", &id)
                .text("isEgress", false)
                .text("ipProtocol", &rule.match_.protocol)
                .text("fromPort", from)
                .text("toPort", to);
            match &rule.match_.peer {
                Peer::V4(cidr) => xml.text("cidrIpv4", cidr),
                Peer::V6(cidr) => xml.text("cidrIpv6", cidr),
                Peer::Group(peer) => xml.text("referencedGroupId", peer),
            };
            xml.maybe("description", rule.description.as_ref());
        });
    Ok(())
}

const FILTERS: &[&str] = &[
    "description",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.ipv6-cidr",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "owner-id",
    "vpc-id",
];

pub(super) fn describe_security_groups(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let (ids, names) = (call.params.list("GroupId"), call.params.list("GroupName"));
    let region = call.region;
    let state = call.state();
    for id in &ids {
        Resource::SecurityGroup.check(id)?;
        if !state.groups.contains_key(*id) {
            return Err(Resource::SecurityGroup.not_found(id));
        }
    }
    for name in &names {
        if state.group_named(name).is_none() {
            return Err(Resource::SecurityGroup.not_found(name));
        }
    }
    let mut groups: Vec<&SecurityGroup> = state.groups.values().collect();
    groups.retain(|group| {
        let asked = ids.is_empty() && names.is_empty()
            || ids.contains(&group.id.as_str())
            || names.contains(&group.name.as_str());
        asked
            && filters.select(state.tags_of(&group.id), |filter| {
                filter_values(group, filter, region)
            })
    });
    let (groups, next) = page.cut(groups, |group| group.id.clone());
    xml.list("securityGroupInfo", groups, |xml, group| {
        xml.text("groupId", &group.id);
        write_permissions(xml, "ipPermissionsEgress", &[everything_out()]);
        write_tags(xml, state.tags_of(&group.id));
        xml.text("vpcId", vpc_id(region))
            .text(
                "securityGroupArn",
                arn(region, ACCOUNT, Resource::SecurityGroup, &group.id),
            )
            .text("ownerId", ACCOUNT)
            .text("groupName", &group.name)
            .text("groupDescription", &group.description);
        write_permissions(xml, "ipPermissions", &group.ingress);
    });
    xml.maybe("nextToken", next);
    Ok(())
}

/// What every group lets out.
fn everything_out() -> Rule {
    Rule {
        id: String::new(),
        match_: RuleMatch {
            protocol: "-1".to_owned(),
            ports: None,
            peer: Peer::V4("0.0.0.0/0".to_owned()),
        },
        description: None,
    }
}

fn filter_values(group: &SecurityGroup, filter: &str, region: Region) -> Vec<String> {
    let rules = |value: fn(&RuleMatch) -> Option<String>| {
        group
            .ingress
            .iter()
            .filter_map(|rule| value(&rule.match_))
            .collect::<Vec<_>>()
    };
    match filter {
        "description" => vec![group.description.clone()],
        "group-id" => vec![group.id.clone()],
        "group-name" => vec![group.name.clone()],
        "owner-id" => vec![ACCOUNT.to_owned()],
        "ip-permission.cidr" => rules(|rule| match &rule.peer {
            Peer::V4(cidr) => Some(cidr.clone()),
            _ => None,
        }),
        "ip-permission.ipv6-cidr" => rules(|rule| match &rule.peer {
            Peer::V6(cidr) => Some(cidr.clone()),
            _ => None,
        }),
        "ip-permission.group-id" => rules(|rule| match &rule.peer {
            Peer::Group(id) => Some(id.clone()),
            _ => None,
        }),
        "ip-permission.protocol" => rules(|rule| Some(rule.protocol.clone())),
        "ip-permission.from-port" => rules(|rule| rule.ports.map(|ports| ports.0.to_string())),
        "ip-permission.to-port" => rules(|rule| rule.ports.map(|ports| ports.1.to_string())),
        _ => vec![vpc_id(region)],
    }
}

pub(super) fn delete_security_group(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = named(call)?;
    let state = call.state();
    if state.groups[&id].name == "default" {
        return Err(ApiError::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    if in_use(state, &id) {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    call.commit()?;
    let state = call.state();
    if let Some(group) = state.groups.remove(&id) {
        for rule in group.ingress {
            state.tags.remove(&rule.id);
        }
    }
    state.tags.remove(&id);
    xml.text("return", true).text("groupId", &id);
    Ok(())
}

/// Whether an interface is in the group or a rule of another group names it.
fn in_use(state: &RegionState, id: &str) -> bool {
    let interfaces = state.instances.values().any(|instance| {
        instance.state != InstanceState::Terminated
            && instance.groups.iter().any(|group| group == id)
    });
    let rules = state
        .groups
        .values()
        .filter(|group| group.id != id)
        .flat_map(|group| &group.ingress)
        .any(|rule| rule.match_.peer == Peer::Group(id.to_owned()));
    interfaces || rules
}
