//! The ssh of this machine, told to trust the pinned host key and to offer the
//! bake's key, and nothing of the person's own settings that could weaken either.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::Context as _;
use forno_bake::{ExitCode, SshWay};

use crate::failure::CommandError;

/// Ready for what shall be done there; known hosts are written into the bake's folder.
pub(crate) fn command(way: &SshWay, user: &str, bake: &Path) -> anyhow::Result<Command> {
    let known_hosts = bake.join("known_hosts");
    fs_err::write(&known_hosts, way.known_hosts())?;
    let mut command = Command::new("ssh");
    command.args(options(way, user, &known_hosts.display().to_string()));
    Ok(command)
}

/// What running it came to.
pub(crate) fn ran(status: io::Result<ExitStatus>) -> anyhow::Result<ExitStatus> {
    match status {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CommandError::new(
            ExitCode::Unexpected,
            "there is no `ssh` here",
        )
        .hint("apt-get install openssh-client")
        .into()),
        status => status.context("run ssh"),
    }
}

fn options(way: &SshWay, user: &str, known_hosts: &str) -> Vec<String> {
    let mut options: Vec<String> = vec!["-F".into(), "none".into()];
    let mut option = |text: String| options.extend(["-o".to_owned(), text]);
    option(format!("UserKnownHostsFile=\"{known_hosts}\""));
    option("GlobalKnownHostsFile=none".into());
    option("StrictHostKeyChecking=yes".into());
    option("ForwardAgent=no".into());
    way.options.iter().for_each(|one| option(one.clone()));
    if let Some(agent) = &way.agent_socket {
        option(format!("IdentityAgent=\"{}\"", agent.display()));
        // Only what the agent of the bake holds: no key of the person is tried.
        option("IdentityFile=none".into());
    }
    options.extend([
        "-p".into(),
        way.port.to_string(),
        "-l".into(),
        user.to_owned(),
        way.address.clone(),
    ]);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_key_is_trusted_and_only_the_bake_s_key_is_offered() {
        let way = SshWay {
            address: "127.0.0.9".into(),
            port: 2222,
            host_key: "ssh-ed25519 AAAA".into(),
            agent_socket: Some("/tmp/a b/agent".into()),
            options: vec!["Ciphers=aes256-ctr".into()],
        };
        let options = options(&way, "admin", "/h/known_hosts");
        for expected in [
            "UserKnownHostsFile=\"/h/known_hosts\"",
            "StrictHostKeyChecking=yes",
            "IdentityAgent=\"/tmp/a b/agent\"",
            "IdentityFile=none",
            "Ciphers=aes256-ctr",
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
