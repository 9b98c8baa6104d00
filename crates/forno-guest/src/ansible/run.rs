//! Runs the playbook, after what it requires.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forno_events::Stream;
use forno_link::Link;
use secrecy::ExposeSecret;
use tokio::process::Command;

use super::galaxy::Galaxy;
use super::process;
use super::told::Story;
use super::workspace::Workspace;
use crate::output::Lines;
use crate::{Ansible, StepContext, StepError, StepErrorKind};

pub(crate) async fn run(
    link: &dyn Link,
    ansible: &Ansible,
    timeout: Duration,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let started = Instant::now();
    let access = link.ssh_access().ok_or_else(|| {
        StepError::new(StepErrorKind::Invalid(
            "Ansible needs SSH, which this link is not".into(),
        ))
    })?;
    let agent = access.agent_socket.clone().ok_or_else(|| {
        StepError::new(StepErrorKind::Invalid(
            "Ansible needs an agent, and none was made".into(),
        ))
    })?;
    let workspace = Workspace::make(ansible, access)
        .map_err(|error| StepError::local("cannot prepare the run of Ansible", error))?;
    let galaxy = match &ansible.requirements {
        Some(requirements) => {
            let galaxy = Galaxy::folder(requirements, &workspace.scratch(), ctx).await?;
            install(&galaxy, requirements, ansible, timeout, ctx).await?;
            Some(galaxy)
        }
        None => None,
    };
    let mut command = Command::new(&ctx.ansible_playbook);
    arguments(&mut command, ansible, &workspace);
    environment(
        &mut command,
        ansible,
        &workspace,
        galaxy.as_ref(),
        &agent,
        ctx,
    );
    let left = timeout.saturating_sub(started.elapsed());
    let result = play(command, left, ctx).await;
    workspace.hang_up().await;
    result
}

async fn play(command: Command, timeout: Duration, ctx: &StepContext) -> Result<(), StepError> {
    let lines = Lines::new(ctx);
    let mut story = Story::default();
    let code = process::run(
        command,
        "ansible-playbook",
        timeout,
        ctx,
        &mut |stream, text| {
            if stream != Stream::Stdout || !story.line(text, ctx) {
                lines.take(stream, text);
                lines.take(stream, b"\n");
            }
        },
    )
    .await;
    let tail = lines.finish();
    match code {
        Ok(Some(0)) if story.ran == 0 => {
            let why = story.nothing.unwrap_or_else(|| "no task ran".to_owned());
            Err(StepError::new(StepErrorKind::Invalid(format!("the playbook did nothing: {why}")))
                .hint("the builder is in `all` and in the step's `groups`; are `hosts:` and `tags` right?")
                .tail(tail))
        }
        Ok(Some(0)) => Ok(()),
        Ok(_) => {
            let mut failures = story.failures;
            if failures.is_empty() {
                failures = tail
                    .iter()
                    .filter(|line| line.contains("ERROR"))
                    .cloned()
                    .collect();
            }
            Err(StepError::new(StepErrorKind::Ansible(failures)).tail(tail))
        }
        Err(error) => Err(error.tail(tail)),
    }
}

fn arguments(command: &mut Command, ansible: &Ansible, workspace: &Workspace) {
    command.arg("-i").arg(workspace.inventory());
    let mut vars = OsString::from("@");
    vars.push(workspace.extra_vars());
    command.arg("-e").arg(vars);
    for (option, words) in [
        ("--tags", &ansible.tags),
        ("--skip-tags", &ansible.skip_tags),
    ] {
        if !words.is_empty() {
            command.arg(option).arg(words.join(","));
        }
    }
    if ansible.r#become {
        command.arg("--become");
    }
    if ansible.verbosity > 0 {
        command.arg(format!("-{}", "v".repeat(usize::from(ansible.verbosity))));
    }
    command.args(&ansible.args).arg(&ansible.playbook);
    // Where a playbook's own ansible.cfg lies.
    if let Some(folder) = ansible.playbook.parent().filter(|folder| folder.is_dir()) {
        command.current_dir(folder);
    }
}

fn environment(
    command: &mut Command,
    ansible: &Ansible,
    workspace: &Workspace,
    galaxy: Option<&Galaxy>,
    agent: &Path,
    ctx: &StepContext,
) {
    for (name, value) in ctx.env.iter().chain(&ansible.env) {
        command.env(name, value.expose_secret());
    }
    let mut roles: Vec<PathBuf> = ansible.roles_path.clone();
    if let Some(galaxy) = galaxy {
        roles.push(galaxy.roles.clone());
        command.env("ANSIBLE_COLLECTIONS_PATH", &galaxy.collections);
        // The name before ansible-core 2.10.
        command.env("ANSIBLE_COLLECTIONS_PATHS", &galaxy.collections);
    }
    if let Ok(roles) = std::env::join_paths(&roles)
        && !roles.is_empty()
    {
        command.env("ANSIBLE_ROLES_PATH", roles);
    }
    command
        .env("SSH_AUTH_SOCK", agent)
        .env("ANSIBLE_STDOUT_CALLBACK", "forno")
        .env("ANSIBLE_CALLBACK_PLUGINS", workspace.plugins())
        .env("ANSIBLE_LOAD_CALLBACK_PLUGINS", "True")
        .env("ANSIBLE_SSH_ARGS", workspace.ssh_args())
        .env("ANSIBLE_SSH_CONTROL_PATH_DIR", workspace.sockets())
        .env("ANSIBLE_PIPELINING", "True")
        .env("ANSIBLE_HOST_KEY_CHECKING", "True")
        .env("ANSIBLE_LOCAL_TEMP", workspace.scratch())
        .env("ANSIBLE_RETRY_FILES_ENABLED", "False")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_LOCALHOST_WARNING", "False")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
}

async fn install(
    galaxy: &Galaxy,
    requirements: &Path,
    ansible: &Ansible,
    timeout: Duration,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let mut command = Command::new(&ctx.ansible_galaxy);
    command.args(["install", "-r"]).arg(requirements);
    for (name, value) in &ansible.env {
        command.env(name, value.expose_secret());
    }
    command
        .env("ANSIBLE_ROLES_PATH", &galaxy.roles)
        .env("ANSIBLE_COLLECTIONS_PATH", &galaxy.collections)
        .env("ANSIBLE_COLLECTIONS_PATHS", &galaxy.collections)
        .env("ANSIBLE_NOCOLOR", "1");
    let lines = Lines::new(ctx);
    let code = process::run(
        command,
        "ansible-galaxy",
        timeout,
        ctx,
        &mut |stream, text| {
            lines.take(stream, text);
            lines.take(stream, b"\n");
        },
    )
    .await;
    let tail = lines.finish();
    match code {
        Ok(Some(0)) => Ok(()),
        Ok(_) => Err(StepError::new(StepErrorKind::Ansible(vec![format!(
            "ansible-galaxy could not install what {} requires",
            requirements.display()
        )]))
        .tail(tail)),
        Err(error) => Err(error.tail(tail)),
    }
}
