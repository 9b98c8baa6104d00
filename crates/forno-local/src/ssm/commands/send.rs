//! SendCommand and CancelCommand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::document::{self, Work};
use super::model::{Command, Invocation, Standing};
use super::perform::Delivery;
use super::show;
use crate::api::error::ApiError;
use crate::ssm::call::{Call, Reply};
use crate::ssm::check::{self, invalid, unsupported};
use crate::state::world::{ACCOUNT, InstanceState};

/// The time for delivery unless the call says another.
const USUAL_TIMEOUT: u32 = 3_600;
const MOST_INSTANCES: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct SendCommand {
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
    document_name: String,
    document_version: Option<String>,
    document_hash: Option<String>,
    document_hash_type: Option<String>,
    timeout_seconds: Option<u32>,
    comment: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    #[serde(rename = "OutputS3Region")]
    output_region: Option<String>,
    #[serde(rename = "OutputS3BucketName")]
    output_bucket: Option<String>,
    #[serde(rename = "OutputS3KeyPrefix")]
    output_prefix: Option<String>,
    max_concurrency: Option<String>,
    max_errors: Option<String>,
    service_role_arn: Option<String>,
    notification_config: Option<Value>,
    cloud_watch_output_config: Option<CloudWatch>,
    alarm_configuration: Option<Value>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Target {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CloudWatch {
    #[serde(rename = "CloudWatchLogGroupName")]
    _group: Option<String>,
    #[serde(rename = "CloudWatchOutputEnabled")]
    enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CancelCommand {
    command_id: String,
    #[serde(default)]
    instance_ids: Vec<String>,
}

pub(in crate::ssm) fn send_command(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: SendCommand = call.input()?;
    input.refuse_what_is_not_here()?;
    input.check()?;
    let version = input.document_version.as_deref();
    document::check(&input.document_name, version, call.region)?;
    let work = Work::read(&input.parameters)?;
    let instances = input.instances(call)?;
    let timeout = input.timeout_seconds.unwrap_or(USUAL_TIMEOUT);
    let patience = Duration::from_secs(u64::from(timeout)) + work.timeout;
    let now = Timestamp::now();
    let command = Command {
        number: 0,
        region: call.region.name,
        id: uuid::Uuid::new_v4().to_string(),
        version: version.unwrap_or("$DEFAULT").to_owned(),
        comment: input.comment.unwrap_or_default(),
        parameters: input.parameters,
        instance_ids: input.instance_ids,
        targets: input
            .targets
            .into_iter()
            .map(|target| (target.key, target.values))
            .collect(),
        max_concurrency: input.max_concurrency.unwrap_or_else(|| "50".to_owned()),
        max_errors: input.max_errors.unwrap_or_else(|| "0".to_owned()),
        timeout,
        requested: now,
        expires: now.saturating_add(patience).unwrap_or(Timestamp::MAX),
        hidden: call.marks.hidden(),
        invocations: instances.into_iter().map(Invocation::new).collect(),
    };
    let reply = json!({ "Command": show::command(&command) });
    start(call, command, &work, Instant::now() + patience);
    Ok(Reply::of(reply))
}

/// Remembers a command, then lets its agents have it.
fn start(call: &Call<'_>, command: Command, work: &Work, expires: Instant) {
    let turns = Arc::new(Semaphore::new(command.at_once()));
    let deliveries: Vec<Delivery> = command
        .invocations
        .iter()
        .map(|invocation| Delivery {
            service: Arc::clone(call.service),
            command: command.id.clone(),
            instance: invocation.instance.clone(),
            region: call.region.name,
            work: work.clone(),
            expires,
            cancel: invocation.cancel.clone(),
            turns: Arc::clone(&turns),
            marks: call.marks.clone(),
        })
        .collect();
    call.service.memory.commands().add(command);
    for delivery in deliveries {
        call.service
            .fleet
            .lose_agent(&delivery.instance, &call.marks);
        call.service.fleet.tasks.spawn(delivery.carry_out());
    }
}

impl SendCommand {
    /// What would have to do something, and cannot.
    fn refuse_what_is_not_here(&self) -> Result<(), ApiError> {
        let logs = self.cloud_watch_output_config.as_ref();
        let what = [
            (
                self.document_hash.is_some() || self.document_hash_type.is_some(),
                "DocumentHash",
            ),
            (
                self.output_bucket.is_some() || self.output_prefix.is_some(),
                "OutputS3BucketName",
            ),
            (self.output_region.is_some(), "OutputS3Region"),
            (
                self.service_role_arn.is_some() || self.notification_config.is_some(),
                "NotificationConfig",
            ),
            (
                logs.is_some_and(|logs| logs.enabled == Some(true)),
                "CloudWatchOutputConfig",
            ),
            (self.alarm_configuration.is_some(), "AlarmConfiguration"),
        ];
        match what.iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(unsupported(name)),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        check::length("instanceIds", self.instance_ids.len(), 0..=MOST_INSTANCES)?;
        check::length("targets", self.targets.len(), 0..=5)?;
        for id in &self.instance_ids {
            check::node("instanceIds", id)?;
        }
        for target in &self.targets {
            check::length("targets.member.values", target.values.len(), 0..=50)?;
        }
        if let Some(timeout) = self.timeout_seconds {
            check::within("timeoutSeconds", timeout, 30..=2_592_000)?;
        }
        if let Some(comment) = &self.comment {
            check::length("comment", comment.chars().count(), 0..=100)?;
        }
        if let Some(most) = &self.max_concurrency {
            let fits = portion(most).is_some_and(|number| number > 0);
            check::form(
                "maxConcurrency",
                fits,
                "^([1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%)$",
            )?;
        }
        if let Some(most) = &self.max_errors {
            let fits = portion(most).is_some();
            check::form(
                "maxErrors",
                fits,
                "^([1-9][0-9]*|[0]|[1-9][0-9]%|[0-9]%|100%)$",
            )?;
        }
        let unique: BTreeSet<&String> = self.instance_ids.iter().collect();
        if unique.len() != self.instance_ids.len() {
            return Err(ApiError::new(
                "DuplicateInstanceId",
                "You can't specify an instance ID in more than one place.",
            ));
        }
        match (self.instance_ids.is_empty(), self.targets.is_empty()) {
            (true, true) => Err(invalid("One of InstanceIds and Targets must be specified")),
            (false, false) => Err(invalid("InstanceIds and Targets cannot both be specified")),
            _ => Ok(()),
        }
    }

    /// Whom it is for: those that were named, all of which must be connected,
    /// or those that the targets match.
    fn instances(&self, call: &Call<'_>) -> Result<Vec<String>, ApiError> {
        let connected = connected(call);
        if self.targets.is_empty() {
            let bad: Vec<&str> = self
                .instance_ids
                .iter()
                .filter(|id| !connected.contains(*id))
                .map(String::as_str)
                .collect();
            if bad.is_empty() {
                return Ok(self.instance_ids.clone());
            }
            return Err(ApiError::new(
                "InvalidInstanceId",
                format!(
                    "Instances [[{}]] not in a valid state for account {ACCOUNT}",
                    bad.join(", ")
                ),
            ));
        }
        let mut found = connected;
        for target in &self.targets {
            let tag = target.key.strip_prefix("tag:");
            if tag.is_none() && target.key != "InstanceIds" {
                return Err(unsupported(format_args!("targets by {}", target.key)));
            }
            call.look(|state| {
                found.retain(|id| match tag {
                    None => target.values.contains(id),
                    Some(key) => state.tags_of(id).any(|(name, value)| {
                        name == key && target.values.iter().any(|v| v == value)
                    }),
                });
            });
        }
        Ok(found.into_iter().collect())
    }
}

/// The instances of the call's region whose agents are connected.
fn connected(call: &Call<'_>) -> BTreeSet<String> {
    let known: Vec<String> = call.look(|state| {
        let all = state.instances.values();
        all.filter(|instance| {
            !matches!(
                instance.state,
                InstanceState::ShuttingDown | InstanceState::Terminated
            )
        })
        .map(|instance| instance.id.clone())
        .collect()
    });
    let fleet = &call.service.fleet;
    let online = |id: &String| fleet.agent(id).is_some_and(|agent| agent.borrow().online());
    known.into_iter().filter(online).collect()
}

impl Command {
    /// How many instances may have it at once.
    fn at_once(&self) -> usize {
        let all = self.invocations.len().max(1);
        let most = portion(&self.max_concurrency).unwrap_or(all);
        let most = if self.max_concurrency.ends_with('%') {
            (all * most).div_ceil(100)
        } else {
            most
        };
        most.clamp(1, all)
    }
}

/// `7` or `7%`.
fn portion(text: &str) -> Option<usize> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let plain = number.bytes().all(|b| b.is_ascii_digit())
        && (number == "0" || !number.starts_with('0'))
        && text.len() <= 7;
    let number = number.parse().ok().filter(|_| plain)?;
    (number <= 100 || !text.ends_with('%')).then_some(number)
}

pub(in crate::ssm) fn cancel_command(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: CancelCommand = call.input()?;
    check::length("commandId", input.command_id.len(), 36..=36)?;
    check::length("instanceIds", input.instance_ids.len(), 0..=MOST_INSTANCES)?;
    let mut commands = call.service.memory.commands();
    let command = commands
        .find(call.region.name, &input.command_id)
        .ok_or_else(|| ApiError::new("InvalidCommandId", "The command ID is not valid."))?;
    let has = |id: &String| command.invocations.iter().any(|one| one.instance == *id);
    if !input.instance_ids.iter().all(has) {
        return Err(ApiError::new(
            "InvalidInstanceId",
            "The command was not sent to all of these instances.",
        ));
    }
    let meant: Vec<String> = command
        .invocations
        .iter()
        .map(|one| one.instance.clone())
        .filter(|id| input.instance_ids.is_empty() || input.instance_ids.contains(id))
        .collect();
    for instance in meant {
        commands.change(&input.command_id, &instance, |one| {
            if one.standing == Standing::InProgress {
                one.standing = Standing::Cancelling;
            }
            one.cancel.cancel();
        });
    }
    Ok(Reply::of(json!({})))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::command;
    use super::*;

    #[test]
    fn portions() {
        assert_eq!(portion("50"), Some(50));
        assert_eq!(portion("100%"), Some(100));
        assert_eq!(portion("0"), Some(0));
        for bad in ["", "%", "07", "101%", "-1", "1.5", "99999999"] {
            assert_eq!(portion(bad), None, "{bad}");
        }
        let mut ten = command(&[Standing::Pending; 10]);
        let mut at_once = |most: &str| {
            most.clone_into(&mut ten.max_concurrency);
            ten.at_once()
        };
        assert_eq!(
            [at_once("3"), at_once("25%"), at_once("1%"), at_once("50")],
            [3, 3, 1, 10]
        );
    }
}
