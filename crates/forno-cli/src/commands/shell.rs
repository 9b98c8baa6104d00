//! `forno shell`
//!
//! Hands over to the ssh of this machine, which knows terminals better than we
//! do. It gets the pinned host key and the agent of the bake, and nothing of
//! the person's own settings that could weaken either.

use std::os::unix::process::ExitStatusExt;
use std::process;

use anyhow::Context as _;
use forno_bake::{Connection, ExitCode};

use super::show::find;
use crate::cli::ShellArgs;
use crate::context::Context;
use crate::failure::CommandError;

pub(crate) fn run(arguments: &ShellArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let bake = find(&arguments.bake, context)?;
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
    let known_hosts = bake.path().join("known_hosts");
    fs_err::write(&known_hosts, connection.known_hosts())?;
    let status = process::Command::new("ssh")
        .args(options(&connection, &known_hosts.display().to_string()))
        .args(remote(&arguments.command))
        .status();
    let status = match status {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(
                CommandError::new(ExitCode::Unexpected, "there is no `ssh` here")
                    .hint("apt-get install openssh-client")
                    .into(),
            );
        }
        status => status.context("run ssh")?,
    };
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(code.into())
}

fn options(connection: &Connection, known_hosts: &str) -> Vec<String> {
    let mut options: Vec<String> = vec!["-F".into(), "none".into()];
    let mut option = |text: String| options.extend(["-o".to_owned(), text]);
    option(format!("UserKnownHostsFile=\"{known_hosts}\""));
    option("GlobalKnownHostsFile=none".into());
    option("StrictHostKeyChecking=yes".into());
    option("ForwardAgent=no".into());
    if let Some(agent) = &connection.agent_socket {
        option(format!("IdentityAgent=\"{}\"", agent.display()));
        // Only what the agent of the bake holds: no key of the person is tried.
        option("IdentityFile=none".into());
    }
    options.extend([
        "-p".into(),
        connection.port.to_string(),
        "-l".into(),
        connection.user.clone(),
        connection.address.clone(),
    ]);
    options
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

    #[test]
    fn only_the_pinned_key_is_trusted_and_only_the_bake_s_key_is_offered() {
        let connection = Connection {
            instance_id: "i-1".into(),
            address: "127.0.0.9".into(),
            port: 2222,
            user: "admin".into(),
            host_key: "ssh-ed25519 AAAA".into(),
            agent_socket: Some("/tmp/a b/agent".into()),
        };
        let options = options(&connection, "/h/known_hosts");
        for expected in [
            "UserKnownHostsFile=\"/h/known_hosts\"",
            "StrictHostKeyChecking=yes",
            "IdentityAgent=\"/tmp/a b/agent\"",
            "IdentityFile=none",
            "2222",
        ] {
            assert!(
                options.iter().any(|option| option == expected),
                "{expected}"
            );
        }
        assert_eq!(options.last().map(String::as_str), Some("127.0.0.9"));
    }
}
