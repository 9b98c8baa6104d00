//! Commands and their invocations in the members of replies.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::document::{NAME, PLUGIN};
use super::model::{Command, Invocation, Standing};
use crate::ssm::check::epoch;

/// What a list shows of output.
const LISTED_OUTPUT: usize = 2_500;
const TRUNCATED: &str = "\n---Output truncated---";

pub(super) fn command(command: &Command) -> Value {
    let standing = command.standing();
    let targets: Vec<Value> = command
        .targets
        .iter()
        .map(|(key, values)| json!({ "Key": key, "Values": values }))
        .collect();
    let failed = |one: Standing| {
        matches!(
            one,
            Standing::Failed | Standing::Undeliverable | Standing::ExecutionTimedOut
        )
    };
    json!({
        "CommandId": command.id,
        "DocumentName": NAME,
        "DocumentVersion": command.version,
        "Comment": command.comment,
        "ExpiresAfter": epoch(command.expires),
        "Parameters": command.parameters,
        "InstanceIds": command.instance_ids,
        "Targets": targets,
        "RequestedDateTime": epoch(command.requested),
        "Status": standing.status(),
        "StatusDetails": standing.details(),
        "OutputS3Region": command.region,
        "OutputS3BucketName": "",
        "OutputS3KeyPrefix": "",
        "MaxConcurrency": command.max_concurrency,
        "MaxErrors": command.max_errors,
        "TargetCount": command.invocations.len(),
        "CompletedCount": command.count(Standing::is_final),
        "ErrorCount": command.count(failed),
        "DeliveryTimedOutCount": command.count(|one| one == Standing::DeliveryTimedOut),
        "ServiceRole": "",
        "NotificationConfig": no_notifications(),
        "CloudWatchOutputConfig": no_logs(),
        "TimeoutSeconds": command.timeout,
    })
}

/// The whole of one invocation, as GetCommandInvocation tells it.
pub(super) fn whole(command: &Command, invocation: &Invocation) -> Value {
    let time = |time: Option<Timestamp>| {
        time.map_or_else(String::new, |time| {
            time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
        })
    };
    let elapsed = invocation.elapsed().map_or_else(String::new, |elapsed| {
        let rounded = jiff::SignedDuration::from_millis_i128(elapsed.as_millis());
        rounded.to_string()
    });
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "Comment": command.comment,
        "DocumentName": NAME,
        "DocumentVersion": command.version,
        "PluginName": PLUGIN,
        "ResponseCode": invocation.code,
        "ExecutionStartDateTime": time(invocation.started),
        "ExecutionElapsedTime": elapsed,
        "ExecutionEndDateTime": time(invocation.ended),
        "Status": invocation.standing.status(),
        "StatusDetails": invocation.standing.details(),
        "StandardOutputContent": invocation.stdout,
        "StandardOutputUrl": "",
        "StandardErrorContent": invocation.stderr,
        "StandardErrorUrl": "",
        "CloudWatchOutputConfig": no_logs(),
    })
}

/// One invocation in a list.
pub(super) fn listed(
    command: &Command,
    invocation: &Invocation,
    name: &str,
    details: bool,
) -> Value {
    let plugins = if details {
        vec![plugin(command, invocation)]
    } else {
        Vec::new()
    };
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "InstanceName": name,
        "Comment": command.comment,
        "DocumentName": NAME,
        "DocumentVersion": command.version,
        "RequestedDateTime": epoch(command.requested),
        "Status": invocation.standing.status(),
        "StatusDetails": invocation.standing.details(),
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": plugins,
        "ServiceRole": "",
        "NotificationConfig": no_notifications(),
        "CloudWatchOutputConfig": no_logs(),
    })
}

fn plugin(command: &Command, invocation: &Invocation) -> Value {
    // A step knows neither of these.
    let standing = match invocation.standing {
        Standing::Delayed => Standing::Pending,
        Standing::Cancelling => Standing::InProgress,
        other => other,
    };
    let mut plugin = json!({
        "Name": PLUGIN,
        "Status": standing.status(),
        "StatusDetails": standing.details(),
        "ResponseCode": invocation.code,
        "Output": output(invocation),
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "OutputS3Region": command.region,
        "OutputS3BucketName": "",
        "OutputS3KeyPrefix": "",
    });
    let times = [
        ("ResponseStartDateTime", invocation.started),
        ("ResponseFinishDateTime", invocation.ended),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            plugin[name] = epoch(time);
        }
    }
    plugin
}

/// Both streams in one, as an agent puts them together, and no more of them
/// than a list shows.
fn output(invocation: &Invocation) -> String {
    let mut text = invocation.stdout.clone();
    if !invocation.stderr.is_empty() {
        text.push_str("\n----------ERROR-------\n");
        text.push_str(&invocation.stderr);
    }
    if text.chars().count() > LISTED_OUTPUT {
        let room = LISTED_OUTPUT - TRUNCATED.len();
        text = text.chars().take(room).collect();
        text.push_str(TRUNCATED);
    }
    text
}

fn no_logs() -> Value {
    json!({ "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false })
}

fn no_notifications() -> Value {
    json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_both_streams_and_not_all_of_them() {
        let mut invocation = Invocation::new("i-1".to_owned());
        invocation.stdout = "out\n".to_owned();
        assert_eq!(output(&invocation), "out\n");
        invocation.stderr = "err\n".to_owned();
        assert_eq!(output(&invocation), "out\n\n----------ERROR-------\nerr\n");
        invocation.stdout = "ß".repeat(3_000);
        let cut = output(&invocation);
        assert_eq!(cut.chars().count(), LISTED_OUTPUT);
        assert!(cut.ends_with(TRUNCATED));
    }
}
