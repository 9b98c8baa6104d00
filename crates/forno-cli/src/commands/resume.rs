//! `forno resume`

use std::path::Path;
use std::process;

use forno_bake::{Engine, ExitCode, RecipeSource, Resumption};
use forno_recipe::{Project, Recipe, Unset};
use forno_report::Mode;
use forno_saga::{Ladder, Rung};

use super::bake::{given_up, settings};
use super::show::find;
use crate::cli::ResumeArgs;
use crate::context::{Context, block_on};
use crate::failure::CommandError;
use crate::place::Place;
use crate::stage::{self, Stage};
use crate::{signals, tools};

pub(crate) fn run(arguments: &ResumeArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let folder = find(&arguments.bake, context)?;
    let taken = Resumption::open(&folder)?;
    if taken.is_local() && !arguments.place.local && !is_pointed_elsewhere(context) {
        return Err(CommandError::new(
            ExitCode::Preflight,
            format!("{} was begun on a pocket EC2", folder.id()),
        )
        .hint(format!("forno resume {} --local", folder.id()))
        .into());
    }
    let recipe = match taken.recipe()? {
        Some(source) => Some(load(source, arguments, context)?),
        None => None,
    };
    let project = context.settings_of_project()?;
    let mode = context.printer.mode(arguments.output, &context.environment);
    let ladder = Ladder::new();
    let code = block_on(async {
        let signals = signals::watch(ladder.clone())?;
        // It is where it was begun, whatever region is usual here.
        let mut place = arguments.place.clone();
        place
            .region
            .get_or_insert_with(|| taken.region().to_owned());
        let place = tokio::select! {
            place = Place::open(&place, &project, mode, context) => place?,
            () = ladder.reached(Rung::Undo) => {
                signals::tell_early_end(&ladder, context.printer);
                return Ok(ExitCode::Interrupted);
            }
        };
        let resumed = Box::pin(resume(
            arguments, taken, recipe, &place, mode, &ladder, context,
        ))
        .await;
        if ladder.rung() == Rung::GiveUp {
            return resumed;
        }
        let closed = place.close().await;
        signals.abort();
        resumed.and_then(|code| closed.map(|()| code))
    })?;
    Ok(code.into())
}

/// An endpoint of this machine may be named by the usual variables.
fn is_pointed_elsewhere(context: &Context) -> bool {
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"]
        .iter()
        .any(|name| context.environment.get(name).is_some())
}

/// The recipe from where it was read, with what it was given then and is given now.
fn load(
    source: &RecipeSource,
    arguments: &ResumeArgs,
    context: &Context,
) -> anyhow::Result<Recipe> {
    let mut inputs = context.inputs(&arguments.variables, Unset::Refuse);
    let before = source.vars.iter();
    inputs.vars = before
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(inputs.vars)
        .collect();
    inputs.var_files = source
        .var_files
        .iter()
        .cloned()
        .chain(inputs.var_files)
        .collect();
    let project = Project::find(repository(&source.file))?;
    let file = source.file.display().to_string();
    Ok(forno_recipe::load(&project, &file, &inputs)?)
}

/// Where to look for the repository of a recipe: the folder that it lies in, or the
/// one that has `images/`.
fn repository(recipe: &Path) -> &Path {
    let folder = recipe.parent().unwrap_or(recipe);
    match folder.parent() {
        Some(root) if folder.file_name().is_some_and(|name| name == "images") => root,
        _ => folder,
    }
}

async fn resume(
    arguments: &ResumeArgs,
    taken: Resumption,
    recipe: Option<Recipe>,
    place: &Place,
    mode: Mode,
    ladder: &Ladder,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let folders = context.folders()?;
    let gateway = place.gateway().await?;
    let (stage, curtain) = Stage::new();
    let mut settings = settings(arguments.on_failure, &folders, curtain, context);
    if let Some(recipe) = &recipe
        && taken.has_steps()
    {
        settings.tools = tools::find(std::slice::from_ref(recipe), &context.environment)?;
    }
    let engine = Engine::new(gateway, settings, ladder.clone());
    let renderer = stage::renderer(mode, context, &folders, false);
    let showing = tokio::spawn(stage.play(engine.subscribe(), renderer, ladder.clone()));
    let report = tokio::select! {
        report = engine.resume(taken, recipe) => Some(report),
        () = given_up(ladder) => None,
    };
    engine.close();
    if showing.await.is_err() {
        tracing::warn!("the renderer broke off");
    }
    let Some(report) = report else {
        context.printer.say(&format!(
            "what was made stands in the ledgers in {}",
            folders.bakes().display()
        ));
        return Ok(ExitCode::LeftBehind);
    };
    Ok(report?.exit_code())
}
