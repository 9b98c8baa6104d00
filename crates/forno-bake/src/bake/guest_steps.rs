//! From the recipe's types to the guest's: the same things, said without
//! templates and without knowing recipes.

use std::collections::BTreeMap;
use std::path::Path;

use forno_guest::{self as guest, SecretValue, StepError};
use forno_recipe::{self as recipe, Text};
use secrecy::SecretString;

use crate::{Error, ErrorKind};

/// `folder` is where the recipe lies. `None`: a breakpoint, which does nothing to the guest.
pub(super) fn step(step: &recipe::Step, folder: &Path) -> Option<guest::Step> {
    Some(guest::Step {
        name: step.name.clone(),
        timeout: step.timeout.get(),
        attempts: step.attempts,
        pause: step.pause.get(),
        on_failure: match step.on_failure {
            recipe::OnFailure::Fail => guest::OnFailure::Fail,
            recipe::OnFailure::Continue => guest::OnFailure::Continue,
            recipe::OnFailure::Ask => guest::OnFailure::Ask,
        },
        action: action(&step.action, folder)?,
    })
}

pub(super) fn check(check: &recipe::Check) -> guest::Step {
    guest::Step {
        name: check.name.clone(),
        timeout: check.timeout.get(),
        attempts: check.attempts,
        pause: check.pause.get(),
        on_failure: guest::OnFailure::Fail,
        action: guest::Action::Assert(assertion(&check.assertion)),
    }
}

pub(super) fn test(test: &recipe::Test) -> guest::Step {
    guest::Step {
        name: test.name.clone(),
        timeout: test.timeout.get(),
        attempts: test.attempts,
        pause: test.pause.get(),
        on_failure: guest::OnFailure::Fail,
        action: match &test.kind {
            recipe::TestKind::Run(run) => guest::Action::Shell(shell(run)),
            recipe::TestKind::Assert(one) => guest::Action::Assert(assertion(one)),
        },
    }
}

fn action(action: &recipe::Action, folder: &Path) -> Option<guest::Action> {
    Some(match action {
        recipe::Action::Shell(one) => guest::Action::Shell(shell(one)),
        recipe::Action::Upload(one) => guest::Action::Upload(upload(one)),
        recipe::Action::Download(one) => guest::Action::Download(guest::Download {
            from: one.from.clone(),
            to: one.to.absolute.clone(),
        }),
        recipe::Action::Ansible(one) => guest::Action::Ansible(ansible(one)),
        recipe::Action::Local(one) => guest::Action::Local(local(one, folder)),
        recipe::Action::Reboot => guest::Action::Reboot,
        recipe::Action::Breakpoint(_) => return None,
    })
}

fn local(one: &recipe::Shell, folder: &Path) -> guest::Local {
    let guest::Shell {
        script,
        args,
        interpreter,
        valid_exit_codes,
        env,
        sudo: _,
    } = shell(one);
    guest::Local {
        script,
        args,
        interpreter,
        valid_exit_codes,
        env,
        folder: folder.to_owned(),
    }
}

fn shell(shell: &recipe::Shell) -> guest::Shell {
    guest::Shell {
        script: match &shell.script {
            recipe::Script::Inline(text) | recipe::Script::Rendered { text, .. } => {
                guest::Script::Inline(secret(text))
            }
            recipe::Script::File(path) => guest::Script::File(path.absolute.clone()),
        },
        args: shell.args.iter().map(|arg| arg.as_str().into()).collect(),
        sudo: shell.sudo,
        interpreter: shell.interpreter.clone(),
        valid_exit_codes: shell
            .valid_exit_codes
            .iter()
            .map(|code| (*code).into())
            .collect(),
        env: env(&shell.env),
    }
}

fn upload(upload: &recipe::Upload) -> guest::Upload {
    guest::Upload {
        source: match &upload.source {
            recipe::UploadSource::Content(text) | recipe::UploadSource::Rendered { text, .. } => {
                guest::UploadSource::Content(secret(text))
            }
            recipe::UploadSource::File(path) => guest::UploadSource::File(path.absolute.clone()),
            recipe::UploadSource::Folder(path) => {
                guest::UploadSource::Folder(path.absolute.clone())
            }
        },
        to: upload.to.clone(),
        mode: upload.mode.map(recipe::Mode::bits),
        owner: upload.owner.clone(),
        group: upload.group.clone(),
    }
}

fn ansible(ansible: &recipe::Ansible) -> guest::Ansible {
    guest::Ansible {
        playbook: ansible.playbook.absolute.clone(),
        on_builder: ansible.on_builder,
        requirements: ansible
            .requirements
            .as_ref()
            .map(|path| path.absolute.clone()),
        roles_path: ansible
            .roles_path
            .iter()
            .map(|path| path.absolute.clone())
            .collect(),
        groups: ansible.groups.clone(),
        empty_groups: ansible.empty_groups.clone(),
        host: ansible.host.clone(),
        inventory: ansible.inventory.as_ref().map(|path| path.absolute.clone()),
        extra_vars: ansible
            .extra_vars
            .iter()
            .map(|(name, value)| (name.clone(), SecretValue(value.expose())))
            .collect(),
        tags: ansible.tags.clone(),
        skip_tags: ansible.skip_tags.clone(),
        r#become: ansible.r#become,
        verbosity: ansible.verbosity,
        env: env(&ansible.env),
        args: ansible.args.clone(),
    }
}

fn assertion(assertion: &recipe::Assertion) -> guest::Assertion {
    use recipe::Assertion as A;
    match assertion {
        A::File(one) => guest::Assertion::File(guest::FileAssertion {
            path: one.file.clone(),
            exists: one.exists,
            kind: one.kind.map(|kind| match kind {
                recipe::FileKind::File => guest::FileKind::File,
                recipe::FileKind::Directory => guest::FileKind::Directory,
                recipe::FileKind::Symlink => guest::FileKind::Symlink,
            }),
            mode: one.mode.map(recipe::Mode::bits),
            owner: one.owner.clone(),
            group: one.group.clone(),
            contains: one.contains.as_ref().map(secret),
            sha256: one.sha256.clone(),
        }),
        A::Package(one) => guest::Assertion::Package(guest::PackageAssertion {
            name: one.package.clone(),
            installed: one.installed,
            version: one.version.clone(),
        }),
        A::Service(one) => guest::Assertion::Service(guest::ServiceAssertion {
            name: one.service.clone(),
            enabled: one.enabled,
            active: one.active,
        }),
        A::Port(one) => guest::Assertion::Port(guest::PortAssertion {
            port: one.port,
            listening: one.listening,
            protocol: match one.protocol {
                recipe::Protocol::Tcp => guest::Protocol::Tcp,
                recipe::Protocol::Udp => guest::Protocol::Udp,
            },
            address: one.address.clone(),
        }),
        A::User(one) => guest::Assertion::User(guest::UserAssertion {
            name: one.user.clone(),
            exists: one.exists,
            uid: one.uid,
            groups: one.groups.clone(),
            home: one.home.clone(),
            shell: one.shell.clone(),
        }),
        A::Command(one) => guest::Assertion::Command(guest::CommandAssertion {
            command: secret(&one.command.0),
            sudo: one.sudo,
            valid_exit_codes: one
                .valid_exit_codes
                .iter()
                .map(|code| (*code).into())
                .collect(),
            contains: one.contains.as_ref().map(secret),
        }),
    }
}

fn env(env: &BTreeMap<String, Text>) -> BTreeMap<String, SecretString> {
    env.iter()
        .map(|(name, value)| (name.clone(), secret(value)))
        .collect()
}

fn secret(text: &Text) -> SecretString {
    text.expose().into()
}

/// What a guest's error means for the bake.
pub(super) fn of_step(error: &StepError, failed: impl FnOnce(String) -> ErrorKind) -> Error {
    if error.is_cancelled() {
        return Error::cancelled(error.to_string());
    }
    let hint = error.hint.clone();
    let error = Error::new(failed(error.to_string()));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
