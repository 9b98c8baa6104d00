//! `forno validate`

use std::process;

use forno_bake::ExitCode;
use forno_recipe::{Diagnostics, Project, Recipe, Unset};

use crate::cli::ValidateArgs;
use crate::context::Context;
use crate::recipes;

pub(crate) fn run(
    arguments: &ValidateArgs,
    context: &Context,
) -> anyhow::Result<process::ExitCode> {
    let recipes = match check(arguments, context) {
        Ok(recipes) => recipes,
        Err(error) if arguments.json => {
            let Some(diagnostics) = error.downcast_ref::<Diagnostics>() else {
                return Err(error);
            };
            context.printer.json(&diagnostics.problems())?;
            return Ok(ExitCode::RecipeInvalid.into());
        }
        Err(error) => return Err(error),
    };
    if arguments.json {
        context.printer.json(&[(); 0])?;
        return Ok(ExitCode::Done.into());
    }
    let theme = context.printer.prose;
    for recipe in &recipes {
        let name = theme.strong(&recipe.name);
        context.printer.say(&format!("{} {name}", theme.ok()));
    }
    Ok(ExitCode::Done.into())
}

fn check(arguments: &ValidateArgs, context: &Context) -> anyhow::Result<Vec<Recipe>> {
    let unset = if arguments.strict {
        Unset::Refuse
    } else {
        Unset::StandIn
    };
    let project = Project::find(&context.directory)?;
    let inputs = context.inputs(&arguments.variables, unset);
    let recipes = recipes::load(&project, &arguments.images, &inputs)?;
    forno_recipe::bake_order(&recipes)?;
    Ok(recipes)
}
