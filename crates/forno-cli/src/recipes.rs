//! The recipes that a command is about.

use forno_recipe::{Diagnostics, Inputs, Project, Recipe};

use crate::failure::CommandError;

/// Reads the named recipes, or every one of the project. What is wrong with any
/// of them is told together.
pub(crate) fn load(
    project: &Project,
    names: &[String],
    inputs: &Inputs,
) -> anyhow::Result<Vec<Recipe>> {
    let every: Vec<String>;
    let names = if names.is_empty() {
        every = project
            .recipes()
            .iter()
            .map(|recipe| recipe.name.clone())
            .collect();
        &every
    } else {
        names
    };
    if names.is_empty() {
        return Err(
            CommandError::usage(format!("no recipes in {}", project.root().display()))
                .hint(
                    "a repository keeps them in `images/`, or says in `forno.toml` where they are",
                )
                .into(),
        );
    }
    let mut problems = Diagnostics::default();
    let mut recipes: Vec<Recipe> = Vec::new();
    for name in names {
        match forno_recipe::load(project, name, inputs) {
            // Named twice, by its name and by its file.
            Ok(recipe) if recipes.iter().any(|known| known.name == recipe.name) => {}
            Ok(recipe) => recipes.push(recipe),
            Err(found) => problems.extend(found),
        }
    }
    if problems.problems().is_empty() {
        Ok(recipes)
    } else {
        Err(problems.into())
    }
}

/// The project whose settings hold: that of the first recipe named by a path,
/// else the one that the command was started in.
pub(crate) fn home(project: Project, names: &[String]) -> anyhow::Result<Project> {
    Ok(match names.first() {
        Some(name) => project.containing(name)?,
        None => project,
    })
}
