//! `forno shell`
//!
//! Hands over to the ssh of this machine, which knows terminals better than we do,
//! wherever ssh can reach the machine. Elsewhere a person gets a terminal through a
//! session of Systems Manager, and a command runs by its agent.

use std::os::unix::process::ExitStatusExt as _;
use std::process;

use forno_bake::{BakeFolder, BucketPlace, Connection, ConnectionWay, ExitCode};
use forno_link::Exit;
use forno_saga::{Ladder, Rung};

use super::show::find;
use crate::cli::ShellArgs;
use crate::context::{Context, block_on};
use crate::failure::CommandError;
use crate::{place, signals, ssh};

pub(crate) fn run(arguments: &ShellArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let bake = find(&arguments.bake, context)?;
    let connection = connection_of(&bake)?;
    match &connection.way {
        ConnectionWay::Ssh(way) => {
            let status = ssh::command(way, &connection.user, bake.path())?
                .args(remote(&arguments.command))
                .status();
            Ok(code(ssh::ran(status)?).into())
        }
        ConnectionWay::Ssm { bucket } => by_agent(arguments, &connection, bucket.as_ref(), context),
    }
}

/// How the machine of a bake is reached, or why there is none.
pub(super) fn connection_of(bake: &BakeFolder) -> anyhow::Result<Connection> {
    let Some(connection) = bake.connection()? else {
        return Err(CommandError::new(
            ExitCode::CannotConnect,
            format!("{} has no machine", bake.id()),
        )
        .hint(if bake.is_alive()? {
            "it is not reachable yet, or already taken down"
        } else {
            "bake with `--on-failure keep` to have a look at the builder of a failed bake"
        })
        .into());
    };
    Ok(connection)
}

fn code(status: process::ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

fn by_agent(
    arguments: &ShellArgs,
    connection: &Connection,
    bucket: Option<&BucketPlace>,
    context: &Context,
) -> anyhow::Result<process::ExitCode> {
    let command = remote(&arguments.command);
    let ladder = Ladder::new();
    block_on(async {
        let signals = signals::watch(ladder.clone())?;
        let gateway = place::gateway_of(connection, arguments.profile.as_deref(), context).await?;
        let cancel = ladder.token();
        let exit = if command.is_none() && forno_link::is_interactive() {
            let terminal = forno_bake::agent_terminal(gateway, connection, cancel).await;
            terminal.map(|()| Exit::Code(0))
        } else {
            forno_bake::agent_shell(gateway, connection, bucket, command, cancel).await
        };
        signals.abort();
        if ladder.rung() > Rung::Running {
            return Ok(ExitCode::Interrupted.into());
        }
        Ok(match exit? {
            Exit::Code(code) => u8::try_from(code).unwrap_or(1).into(),
            Exit::Signal(_) => process::ExitCode::FAILURE,
        })
    })
}

/// One argument is a line for the shell there; several are a command and its
/// arguments, kept apart.
fn remote(command: &[String]) -> Option<String> {
    match command {
        [] => None,
        [line] => Some(line.clone()),
        words => Some(shell_words::join(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stay_apart_and_a_line_stays_a_line() {
        let words = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            remote(&words)
        };
        assert_eq!(words(&[]), None);
        assert_eq!(words(&["ls | wc -l"]).as_deref(), Some("ls | wc -l"));
        assert_eq!(words(&["touch", "a b"]).as_deref(), Some("touch 'a b'"));
    }
}
