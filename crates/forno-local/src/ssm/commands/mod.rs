//! Run Command: scripts sent to machines through their agents.

mod document;
mod lists;
mod model;
mod outcome;
mod perform;
mod send;
mod show;

pub(super) use lists::{get_command_invocation, list_command_invocations, list_commands};
pub(super) use model::Commands;
pub(super) use send::{cancel_command, send_command};
