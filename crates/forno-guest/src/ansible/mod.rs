//! Playbooks: the real ansible-playbook of this machine, reaching the builder
//! over an SSH connection of its own, with forno's key behind an agent. Where the
//! link is none that ssh could use, it goes through forno ([`passage`]).
//!
//! Its connection settings are all ours: inventory, known hosts and variables
//! are files in a private folder, and neither the person's nor the system's
//! configuration of ssh or Ansible is read, except an `ansible.cfg` beside the
//! playbook.

mod galaxy;
mod onsite;
mod passage;
mod story;
mod workplace;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use forno_events::Stream;
use forno_link::{Exit, Link};
use secrecy::ExposeSecret;

pub(crate) use self::onsite::{of_playbook, pack};
use self::passage::Passage;
use self::story::Story;
use self::workplace::{SOCKET, Way, Workplace};
use crate::error::StepErrorKind;
use crate::output::Tap;
use crate::process::{self, Program};
use crate::step::Ansible;
use crate::{StepContext, StepError};

/// Nothing of the person's own settings: a bake must not depend on them.
const OWN_SETTINGS: &[&str] = &["ANSIBLE_", "SSH_", "DISPLAY"];

pub(crate) async fn run(
    link: &dyn Link,
    ansible: &Ansible,
    ctx: &StepContext,
) -> Result<(), StepError> {
    process::require(&ctx.ansible_playbook, "ansible-core").await?;
    let unprepared = |error| StepError::local("cannot prepare the run of ansible-playbook", error);
    let Some(access) = link.ssh_access() else {
        let place = Workplace::new(ansible, &Way::Forno(link.user())).map_err(unprepared)?;
        let passage = Passage::at(&place.path(SOCKET)).map_err(unprepared)?;
        return tokio::select! {
            result = play(ansible, &place, ctx) => result,
            never = passage.serve(link, ctx) => never,
        };
    };
    if access.agent_socket.is_none() {
        return Err(invalid(
            "ansible needs an agent socket, and this link has none",
        ));
    }
    process::require(Path::new("ssh"), "openssh-client").await?;
    let place = Workplace::new(ansible, &Way::Ssh(&access)).map_err(unprepared)?;
    let result = play(ansible, &place, ctx).await;
    place.hang_up().await;
    result
}

async fn play(ansible: &Ansible, place: &Workplace, ctx: &StepContext) -> Result<(), StepError> {
    let installed = match &ansible.requirements {
        Some(file) => Some(galaxy::install(file, ansible, place, ctx).await?),
        None => None,
    };
    let mut env = place.environment(ansible);
    let extra = |more: Option<&PathBuf>, own: &[PathBuf], usual: &str| {
        let mut path = OsString::new();
        for part in more.into_iter().chain(own) {
            path.push(part);
            path.push(":");
        }
        path.push(usual);
        path
    };
    let roles = installed.as_ref().map(|i| &i.roles);
    if roles.is_some() || !ansible.roles_path.is_empty() {
        let usual = "~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles";
        env.insert(
            "ANSIBLE_ROLES_PATH".into(),
            extra(roles, &ansible.roles_path, usual),
        );
    }
    if let Some(installed) = &installed {
        let usual = "~/.ansible/collections:/usr/share/ansible/collections";
        let path = extra(Some(&installed.collections), &[], usual);
        env.insert("ANSIBLE_COLLECTIONS_PATH".into(), path);
    }
    for (name, value) in ctx.env.iter().chain(&ansible.env) {
        env.insert(name.clone(), value.expose_secret().into());
    }

    let tap = Tap::new(ctx);
    let mut story = Story::new(ctx, tap.clone(), &ansible.host);
    let program = Program {
        path: &ctx.ansible_playbook,
        args: arguments(ansible, place),
        env,
        forgets: OWN_SETTINGS,
        dir: galaxy::folder_of(&ansible.playbook),
        leaves: place.leaves(),
    };
    let status = process::run(
        program,
        |line| story.line(line),
        |line| tap.push(Stream::Stderr, format!("{line}\n").as_bytes()),
        &ctx.cancel,
    )
    .await;
    let tail = tap.finish();
    match status {
        Ok(status) if status.success() && story.acted => Ok(()),
        Ok(status) if status.success() => Err(did_nothing().tail(tail)),
        Ok(status) => Err(failure(status, story, tail)),
        Err(error) => Err(error.tail(tail)),
    }
}

fn invalid(why: impl Into<String>) -> StepError {
    StepError::new(StepErrorKind::Invalid(why.into()))
}

/// No failure to Ansible, and never what a recipe means.
fn did_nothing() -> StepError {
    invalid("the playbook did nothing: no task ran on the machine").hint(
        "the machine is in `all` and in the step's `groups`: compare with the playbook's `hosts:`, and the tags",
    )
}

fn arguments(ansible: &Ansible, place: &Workplace) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    if let Some(inventory) = &ansible.inventory {
        args.extend(["-i".into(), inventory.into()]);
    }
    // The last one has the last word on how the machine is reached.
    args.extend(["-i".into(), place.path("hosts.json").into()]);
    if let Some(vars) = place.vars() {
        let mut file = OsString::from("@");
        file.push(vars);
        args.extend(["--extra-vars".into(), file]);
    }
    args.extend(options(ansible).map(OsString::from));
    args.push(ansible.playbook.clone().into());
    args
}

/// What the step says of the run, wherever that is.
fn options(ansible: &Ansible) -> impl Iterator<Item = String> {
    let mut options = Vec::new();
    // Its other hosts are there to be read about.
    if ansible.inventory.is_some() {
        options.extend(["--limit".to_owned(), ansible.host.clone()]);
    }
    for (option, tags) in [
        ("--tags", &ansible.tags),
        ("--skip-tags", &ansible.skip_tags),
    ] {
        if !tags.is_empty() {
            options.extend([option.to_owned(), tags.join(",")]);
        }
    }
    if ansible.r#become {
        options.push("--become".to_owned());
    }
    if ansible.verbosity > 0 {
        options.push(format!("-{}", "v".repeat(ansible.verbosity.into())));
    }
    options.extend(ansible.args.iter().cloned());
    options.into_iter()
}

fn failure(status: ExitStatus, story: Story, tail: Vec<String>) -> StepError {
    let unreachable = story.unreachable;
    let failures = story.failures();
    let error = if failures.is_empty() {
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code.unsigned_abs()),
            (None, signal) => Exit::Signal(signal.unwrap_or_default().to_string()),
        };
        StepError::new(StepErrorKind::Exit {
            what: "ansible-playbook".into(),
            exit,
        })
    } else {
        StepError::new(StepErrorKind::Ansible(failures))
    };
    let says = |text: &str| tail.iter().any(|line| line.contains(text));
    let error = if unreachable {
        error.hint("forno itself reaches the machine: compare the message above with the ssh options of the play")
    } else if says("couldn't resolve module/action") {
        error.hint("name the collection it comes from in a requirements file (`requirements = …`)")
    } else if says("was not found in") && says("role") {
        error.hint("name the role in a requirements file, or its folder in `roles_path`")
    } else {
        error
    };
    error.tail(tail)
}
