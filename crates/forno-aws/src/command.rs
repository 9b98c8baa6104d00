//! Run Command: scripts that the SSM agent of an instance runs as root.

use std::time::Duration;

use aws_sdk_ssm::operation::cancel_command::CancelCommandError;
use aws_sdk_ssm::operation::send_command::SendCommandError;
use aws_sdk_ssm::types::{CommandFilter, CommandFilterKey};
use jiff::Timestamp;

use crate::convert::required;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::InstanceId;

const DOCUMENT: &str = "AWS-RunShellScript";

/// Where a command of one instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    pub command_id: String,
    pub instance_id: String,
    /// SSM's `StatusDetails`, such as `InProgress` or `Execution Timed Out`; it
    /// tells more apart than `Status`.
    pub details: String,
}

/// What an ended command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationOutput {
    pub details: String,
    /// The exit status, -1 where there is none.
    pub response_code: i32,
    /// The first 24,000 characters.
    pub stdout: String,
    /// The first 8,000 characters.
    pub stderr: String,
}

impl Gateway {
    /// Has a shell script run as root; the command's id. There is no client token:
    /// when the outcome is unknown the script may run, or have run, all the same.
    ///
    /// `delivery` is brought into 30 s to 30 days, `execution` into 5 s to 48 h, as
    /// SSM and its agent want them.
    pub async fn send_command(
        &self,
        instance: &InstanceId,
        script: &str,
        comment: &str,
        delivery: Duration,
        execution: Duration,
    ) -> Result<String, Error> {
        let call = self.call("SendCommand").on(instance);
        let delivery = delivery.as_secs().clamp(30, 2_592_000);
        let execution = execution.as_secs().clamp(5, 172_800);
        let reply = self
            .clients()
            .ssm
            .send_command()
            .document_name(DOCUMENT)
            .instance_ids(instance.as_str())
            .comment(comment.chars().take(100).collect::<String>())
            .set_timeout_seconds(i32::try_from(delivery).ok())
            .parameters("commands", vec![script.to_owned()])
            .parameters("executionTimeout", vec![execution.to_string()])
            .customize()
            .interceptor(call.watch::<SendCommandError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        reply
            .command
            .and_then(|command| command.command_id)
            .ok_or_else(|| call.malformed("no id of the command"))
    }

    /// All commands of the account's region that were sent since then by this
    /// document, whoever sent them.
    pub async fn commands_since(&self, since: Timestamp) -> Result<Vec<Invocation>, Error> {
        let call = self.call("ListCommandInvocations");
        let filter = |key: CommandFilterKey, value: String| {
            CommandFilter::builder().key(key).value(value).build()
        };
        // To the second, and SSM means "after".
        let after = since.as_second() - 1;
        let after = Timestamp::from_second(after).unwrap_or(since).to_string();
        let filters = [
            filter(CommandFilterKey::InvokedAfter, after),
            filter(CommandFilterKey::DocumentName, DOCUMENT.to_owned()),
        ];
        let mut pages = self
            .clients()
            .ssm
            .list_command_invocations()
            .set_filters(Some(
                filters
                    .into_iter()
                    .collect::<Result<_, _>>()
                    .map_err(|error| call.malformed(error))?,
            ))
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(one) = pages.next().await {
            let one = one.map_err(|error| call.failed(&error))?;
            let malformed = |error| call.malformed(error);
            found.push(Invocation {
                command_id: required(one.command_id, "the id of a command").map_err(malformed)?,
                instance_id: required(one.instance_id, "the instance of a command")
                    .map_err(malformed)?,
                details: one.status_details.unwrap_or_default(),
            });
        }
        Ok(found)
    }

    /// What a command said on one instance; empty until it has ended.
    /// [`crate::Kind::NotFound`] is normal for seconds after it was sent.
    pub async fn command_output(
        &self,
        command: &str,
        instance: &InstanceId,
    ) -> Result<InvocationOutput, Error> {
        let call = self.call("GetCommandInvocation").on(command);
        let reply = self
            .clients()
            .ssm
            .get_command_invocation()
            .command_id(command)
            .instance_id(instance.as_str())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(InvocationOutput {
            details: reply.status_details.unwrap_or_default(),
            response_code: reply.response_code,
            stdout: reply.standard_output_content.unwrap_or_default(),
            stderr: reply.standard_error_content.unwrap_or_default(),
        })
    }

    /// Asks for a command's end; the agent does what it can.
    pub async fn cancel_command(&self, command: &str) -> Result<(), Error> {
        let call = self.call("CancelCommand").on(command);
        self.clients()
            .ssm
            .cancel_command()
            .command_id(command)
            .customize()
            .interceptor(call.watch::<CancelCommandError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }
}
