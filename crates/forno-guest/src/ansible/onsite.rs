//! A playbook that runs on the machine itself, by the ansible-playbook that is installed
//! there.
//!
//! It is a script like others, which carries the playbook's folder with it: all of it lies
//! in the machine's memory, goes with the run, and lives on when the connection breaks.

use std::io;
use std::path::Path;

use forno_link::Exit;
use secrecy::SecretString;
use serde_json::json;

use super::galaxy::{self, asked_of};
use super::workplace::{inventory, variables};
use super::{did_nothing, invalid, options};
use crate::StepError;
use crate::error::StepErrorKind;
use crate::shell::Luggage;
use crate::step::{Ansible, Script, Shell};

const SCRIPT: &str = include_str!("onsite.sh");

/// More does not belong into a machine's memory.
const MOST: usize = 64 << 20;

/// The script, and what it needs around it.
pub(crate) fn pack(ansible: &Ansible) -> Result<(Shell, Luggage), StepError> {
    let unprepared = |error| StepError::local("cannot send the playbook to the machine", error);
    let name = name_of(&ansible.playbook)?;
    let mut luggage = Luggage::default();
    let mut add = || -> io::Result<()> {
        luggage.tree("play", &galaxy::folder_of(&ansible.playbook))?;
        let hosts = inventory(ansible, &json!({ "ansible_connection": "local" })).to_string();
        luggage.file("hosts.json", hosts.into_bytes());
        if let Some(vars) = variables(ansible)? {
            luggage.file("vars.json", vars);
        }
        if let Some(path) = &ansible.inventory {
            let folder = if path.is_dir() {
                path.clone()
            } else {
                galaxy::folder_of(path)
            };
            luggage.tree("inventory", &folder)?;
        }
        for (number, folder) in ansible.roles_path.iter().enumerate() {
            luggage.tree(&format!("roles-{number}"), folder)?;
        }
        Ok(())
    };
    add().map_err(unprepared)?;
    let mut kinds = Vec::new();
    if let Some(file) = &ansible.requirements {
        let content = fs_err::read_to_string(file).map_err(unprepared)?;
        let asked = asked_of(file, &content)?;
        kinds.extend(asked.roles.then_some("role"));
        kinds.extend(asked.collections.then_some("collection"));
        luggage.file("requirements.yml", content.into_bytes());
    }
    if luggage.size() > MOST {
        return Err(invalid(format!(
            "the playbook's folder and its roles have {} MiB; at most {} go to the machine",
            luggage.size() >> 20,
            MOST >> 20
        ))
        .hint("keep what is large elsewhere, and send it by a `file` step"));
    }
    let inventory = match &ansible.inventory {
        None => Vec::new(),
        Some(path) if path.is_dir() => vec!["-i".to_owned(), "../inventory".to_owned()],
        Some(path) => vec!["-i".to_owned(), format!("../inventory/{}", name_of(path)?)],
    };
    let args = [kinds.join(" "), ansible.host.clone(), name.to_owned()]
        .into_iter()
        .chain(inventory)
        .chain(options(ansible))
        .map(SecretString::from)
        .collect();
    let shell = Shell {
        script: Script::Inline(SCRIPT.into()),
        args,
        sudo: false,
        interpreter: Some(vec!["/bin/sh".to_owned()]),
        valid_exit_codes: vec![0],
        env: ansible.env.clone(),
    };
    Ok((shell, luggage))
}

fn name_of(file: &Path) -> Result<&str, StepError> {
    let name = file.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| invalid(format!("{} has no plain name", file.display())))
}

/// The failure of the script as one of the playbook.
pub(crate) fn of_playbook(mut error: StepError, playbook: &Path) -> StepError {
    let StepErrorKind::Exit { what, exit } = &mut error.kind else {
        return error;
    };
    *what = format!("{} on the machine", playbook.display());
    match exit {
        Exit::Code(127) => error.hint(
            "install ansible-core on the machine in a step before, or leave `on_builder` out: then it runs here",
        ),
        Exit::Code(65) => did_nothing().tail(error.tail),
        _ => error,
    }
}
