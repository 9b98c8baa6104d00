//! DescribeInstanceInformation: the instances whose agents have registered.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::check::{self, epoch, invalid};
use crate::api::error::ApiError;
use crate::fleet::{AGENT_VERSION, Agent};
use crate::state::world::{Instance, InstanceState, RegionState};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DescribeInstanceInformation {
    #[serde(default)]
    instance_information_filter_list: Vec<OldFilter>,
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Filter {
    key: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OldFilter {
    key: String,
    value_set: Vec<String>,
}

const OLD_KEYS: &[&str] = &[
    "InstanceIds",
    "AgentVersion",
    "PingStatus",
    "PlatformTypes",
    "ActivationIds",
    "IamRole",
    "ResourceType",
    "AssociationStatus",
];
const KEYS: &[&str] = &["SourceIds", "SourceTypes", "tag-key"];

pub(super) fn describe_instance_information(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: DescribeInstanceInformation = call.input()?;
    let page = call.page(input.max_results, input.next_token.as_deref(), 5..=50)?;
    let filters = input.filters()?;
    let now = Timestamp::now();
    let found: Vec<(String, Value)> = call.look(|state| {
        let known = state
            .instances
            .values()
            .filter(|instance| instance.state != InstanceState::Terminated);
        known
            .filter_map(|instance| {
                let agent = call.service.fleet.agent(&instance.id)?;
                let agent = agent.borrow();
                let wanted = filters
                    .iter()
                    .all(|filter| filter.matches(state, instance, &agent));
                let shown = show(instance, &agent, now)?;
                wanted.then(|| (instance.id.clone(), shown))
            })
            .collect()
    });
    let (found, next) = page.cut(found, |(id, _)| id.clone());
    let shown: Vec<Value> = found.into_iter().map(|(_, shown)| shown).collect();
    Ok(Reply::paged("InstanceInformationList", shown, next))
}

fn show(instance: &Instance, agent: &Agent, now: Timestamp) -> Option<Value> {
    let about = agent.about.as_ref()?;
    Some(json!({
        "InstanceId": instance.id,
        "PingStatus": ping_status(agent),
        "LastPingDateTime": epoch(agent.last_ping(now)),
        "AgentVersion": AGENT_VERSION,
        "IsLatestVersion": true,
        "PlatformType": "Linux",
        "PlatformName": about.platform,
        "PlatformVersion": about.version,
        "RegistrationDate": epoch(about.registered),
        "ResourceType": "EC2Instance",
        "IPAddress": instance.private_address.to_string(),
        "ComputerName": about.computer,
        "SourceId": instance.id,
        "SourceType": "AWS::EC2::Instance",
    }))
}

fn ping_status(agent: &Agent) -> &'static str {
    if agent.online() {
        "Online"
    } else {
        "ConnectionLost"
    }
}

impl DescribeInstanceInformation {
    fn filters(self) -> Result<Vec<Filter>, ApiError> {
        if !self.filters.is_empty() && !self.instance_information_filter_list.is_empty() {
            return Err(invalid(
                "Filters and InstanceInformationFilterList cannot both be specified",
            ));
        }
        let refuse = |key: &str| {
            Err(ApiError::new(
                "InvalidFilterKey",
                format!("{key} is no key"),
            ))
        };
        let mut filters = Vec::new();
        for OldFilter { key, value_set } in self.instance_information_filter_list {
            if !OLD_KEYS.contains(&key.as_str()) {
                return refuse(&key);
            }
            filters.push(Filter {
                key,
                values: value_set,
            });
        }
        for filter in self.filters {
            let key = filter.key.as_str();
            if !OLD_KEYS.contains(&key) && !KEYS.contains(&key) && !key.starts_with("tag:") {
                return refuse(key);
            }
            filters.push(filter);
        }
        for filter in &filters {
            check::length("filters.member.values", filter.values.len(), 1..=100)?;
            if filter.key == "InstanceIds" {
                for id in &filter.values {
                    check::node("instanceId", id).map_err(|error| {
                        let why = error.message().to_owned();
                        ApiError::new("InvalidInstanceInformationFilterValue", why)
                    })?;
                }
            }
        }
        Ok(filters)
    }
}

impl Filter {
    fn matches(&self, state: &RegionState, instance: &Instance, agent: &Agent) -> bool {
        let is = |value: &str| self.values.iter().any(|wanted| wanted == value);
        match self.key.as_str() {
            "InstanceIds" | "SourceIds" => is(&instance.id),
            "AgentVersion" => is(AGENT_VERSION),
            "PingStatus" => is(ping_status(agent)),
            "PlatformTypes" => is("Linux"),
            "ResourceType" => is("EC2Instance"),
            "SourceTypes" => is("AWS::EC2::Instance"),
            "tag-key" => state.tags_of(&instance.id).any(|(key, _)| is(key)),
            key => key.strip_prefix("tag:").is_some_and(|tag| {
                let mut tags = state.tags_of(&instance.id);
                tags.any(|(key, value)| key == tag && is(value))
            }),
        }
    }
}
