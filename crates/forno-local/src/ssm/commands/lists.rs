//! What is told of commands: GetCommandInvocation, ListCommandInvocations,
//! ListCommands.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::document::{NAME, PLUGIN};
use super::model::{Command, Invocation, Standing};
use super::show;
use crate::api::error::ApiError;
use crate::ssm::call::{Call, Reply};
use crate::ssm::check;

const KEYS: &[&str] = &[
    "InvokedAfter",
    "InvokedBefore",
    "Status",
    "ExecutionStage",
    "DocumentName",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetCommandInvocation {
    command_id: String,
    instance_id: String,
    plugin_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct List {
    command_id: Option<String>,
    instance_id: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    details: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    key: String,
    value: String,
}

type Row<'a> = (&'a Command, &'a Invocation);

/// Filters that were understood.
#[derive(Default)]
struct Wanted {
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    status: Option<String>,
    /// Whether it is still being carried out.
    executing: Option<bool>,
    nothing: bool,
}

pub(in crate::ssm) fn get_command_invocation(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: GetCommandInvocation = call.input()?;
    check::length("commandId", input.command_id.len(), 36..=36)?;
    check::node("instanceId", &input.instance_id)?;
    if input.plugin_name.is_some_and(|name| name != PLUGIN) {
        return Err(ApiError::new(
            "InvalidPluginName",
            "The plugin name is not valid.",
        ));
    }
    let commands = call.service.memory.commands();
    let found = commands
        .find(call.region.name, &input.command_id)
        .and_then(|command| {
            let mut all = command.invocations.iter();
            let one = all.find(|one| one.instance == input.instance_id)?;
            Some(show::whole(command, one))
        });
    let found = found.ok_or_else(|| {
        ApiError::new(
            "InvocationDoesNotExist",
            "The command ID and managed node ID you specified did not match any invocations.",
        )
    })?;
    Ok(Reply::of(found))
}

pub(in crate::ssm) fn list_command_invocations(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: List = call.input()?;
    let wanted = input.understand(call)?;
    let details = input.details.unwrap_or(false);
    let commands = call.service.memory.commands();
    let mut found: Vec<Row<'_>> = Vec::new();
    for command in input.of(commands.of_region(call.region.name)) {
        for one in &command.invocations {
            if input.names(&one.instance) && wanted.has(command, one.standing) {
                found.push((command, one));
            }
        }
    }
    let page = call.page(input.max_results, input.next_token.as_deref(), 1..=50)?;
    let key = |(command, one): &Row<'_>| format!("{} {}", newest_first(command), one.instance);
    found.sort_by_key(key);
    let (found, next) = page.cut(found, key);
    let shown: Vec<Value> = call.look(|state| {
        let name = |id: &str| {
            let mut tags = state.tags_of(id);
            tags.find(|(key, _)| *key == "Name")
                .map_or("", |(_, value)| value)
        };
        let listed =
            |(command, one): &Row<'_>| show::listed(command, one, name(&one.instance), details);
        found.iter().map(listed).collect()
    });
    Ok(Reply::paged("CommandInvocations", shown, next))
}

pub(in crate::ssm) fn list_commands(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: List = call.input()?;
    if input.details.is_some() {
        return Err(check::invalid("unknown field `Details`"));
    }
    let wanted = input.understand(call)?;
    let commands = call.service.memory.commands();
    let found: Vec<&Command> = input
        .of(commands.of_region(call.region.name))
        .filter(|command| {
            let all = &command.invocations;
            let named =
                input.instance_id.is_none() || all.iter().any(|one| input.names(&one.instance));
            named && wanted.has(command, command.standing())
        })
        .collect();
    let page = call.page(input.max_results, input.next_token.as_deref(), 1..=50)?;
    let (found, next) = page.cut(found, |command| newest_first(command));
    let shown = found.into_iter().map(show::command).collect();
    Ok(Reply::paged("Commands", shown, next))
}

/// A key in whose order the newest come first.
fn newest_first(command: &Command) -> String {
    format!("{:020}", u64::MAX - command.number)
}

impl List {
    fn understand(&self, call: &Call<'_>) -> Result<Wanted, ApiError> {
        if let Some(id) = &self.instance_id {
            check::node("instanceId", id)?;
        }
        if let Some(id) = &self.command_id {
            check::length("commandId", id.len(), 36..=36)?;
            let commands = call.service.memory.commands();
            // One that cannot be seen yet is not listed, and no error either.
            if commands.find(call.region.name, id).is_none() && uuid::Uuid::parse_str(id).is_err() {
                return Err(ApiError::new(
                    "InvalidCommandId",
                    "The command ID is not valid.",
                ));
            }
        }
        check::length("filters", self.filters.len(), 0..=5)?;
        let mut wanted = Wanted::default();
        for filter in &self.filters {
            check::word("filters.member.key", &filter.key, KEYS)?;
            let time = || {
                filter
                    .value
                    .parse::<Timestamp>()
                    .map_err(|_| check::invalid(format!("The filter {} needs a time", filter.key)))
            };
            match filter.key.as_str() {
                "InvokedAfter" => wanted.after = Some(time()?),
                "InvokedBefore" => wanted.before = Some(time()?),
                "Status" => wanted.status = Some(filter.value.clone()),
                "DocumentName" => wanted.nothing |= filter.value != NAME,
                _ => {
                    check::word(
                        "filters.member.value",
                        &filter.value,
                        &["Executing", "Complete"],
                    )?;
                    wanted.executing = Some(filter.value == "Executing");
                }
            }
        }
        Ok(wanted)
    }

    fn of<'a>(&self, all: impl Iterator<Item = &'a Command>) -> impl Iterator<Item = &'a Command> {
        let id = self.command_id.clone();
        all.filter(move |command| id.as_ref().is_none_or(|id| *id == command.id))
    }

    fn names(&self, instance: &str) -> bool {
        self.instance_id.as_deref().is_none_or(|id| id == instance)
    }
}

impl Wanted {
    fn has(&self, command: &Command, standing: Standing) -> bool {
        !self.nothing
            && self.after.is_none_or(|after| command.requested > after)
            && self.before.is_none_or(|before| command.requested < before)
            && self
                .status
                .as_deref()
                .is_none_or(|status| standing.answers_to(status))
            && self
                .executing
                .is_none_or(|executing| executing != standing.is_final())
    }
}
