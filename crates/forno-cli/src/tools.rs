//! Programs of this machine that a bake needs, looked for before anything is made:
//! a builder that waits for what is not installed here costs time and money.

use std::path::PathBuf;

use forno_bake::{ExitCode, Tools};
use forno_recipe::{Action, Recipe};

use crate::environment::Environment;
use crate::failure::CommandError;

/// The tools of these recipes, with the paths at which they lie.
pub(crate) fn find(recipes: &[Recipe], environment: &Environment) -> Result<Tools, CommandError> {
    let mut tools = Tools::default();
    for recipe in recipes {
        for step in &recipe.steps {
            let Action::Ansible(ansible) = &step.action else {
                continue;
            };
            if ansible.on_builder {
                continue;
            }
            tools.ansible_playbook = Some(ansible_core("ansible-playbook", recipe, environment)?);
            if ansible.requirements.is_some() {
                tools.ansible_galaxy = Some(ansible_core("ansible-galaxy", recipe, environment)?);
            }
        }
    }
    Ok(tools)
}

fn ansible_core(
    program: &str,
    recipe: &Recipe,
    environment: &Environment,
) -> Result<PathBuf, CommandError> {
    let path = environment.get("PATH").unwrap_or_default();
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            CommandError::new(
                ExitCode::Preflight,
                format!(
                    "`{}` has an Ansible step, and `{program}` is not installed on this machine",
                    recipe.name
                ),
            )
            .hint("install the Debian package `ansible-core`: apt-get install ansible-core")
        })
}
