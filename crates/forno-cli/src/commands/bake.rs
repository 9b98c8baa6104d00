//! `forno bake`

use std::process;
use std::sync::Arc;
use std::time::Duration;

use forno_bake::{
    Bakes, Engine, ExitCode, Goal, Manifest, RunOptions, RunReport, RunResult, Settings, Tools,
    packer_manifest,
};
use forno_recipe::{Recipe, Unset};
use forno_report::Mode;
use forno_saga::{Ladder, Rung};

use crate::ask::Terminal;
use crate::cli::{BakeArgs, OnFailure};
use crate::context::{Context, block_on};
use crate::failure::CommandError;
use crate::place::{Conduct, Place};
use crate::settings::Folders;
use crate::stage::{self, Curtain, Stage};
use crate::{failure, recipes, signals, tools};

/// How long a bake that is told to leave may take to do so by itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &BakeArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let project = context.project()?;
    let inputs = context.inputs(&arguments.variables, Unset::Refuse);
    let recipes = recipes::load(&project, &arguments.images, &inputs)?;
    let project = recipes::home(project, &arguments.images)?;
    let tools = tools::find(&recipes, &context.environment)?;
    let conduct = Conduct::read(&arguments.conduct)?;
    if conduct.is_some() && !arguments.place.local {
        let said = "AWS behaves as it does: --faults and --pace are for the pocket EC2";
        return Err(CommandError::usage(said).hint("add --local").into());
    }
    let mode = context.printer.mode(arguments.output, &context.environment);
    let ladder = Ladder::new();
    let code = block_on(async {
        let signals = signals::watch(ladder.clone())?;
        let place = tokio::select! {
            place = Place::open_as(&arguments.place, conduct, &project, mode, context) => place?,
            () = ladder.reached(Rung::Undo) => {
                signals::tell_early_end(&ladder, context.printer);
                return Ok(ExitCode::Interrupted);
            }
        };
        let baked = bake(arguments, recipes, tools, &place, mode, &ladder, context).await;
        if ladder.rung() == Rung::GiveUp {
            // Its machines end with this process, and nothing else is to be waited for.
            return baked;
        }
        let closed = place.close().await;
        signals.abort();
        baked.and_then(|code| closed.map(|()| code))
    })?;
    Ok(code.into())
}

async fn bake(
    arguments: &BakeArgs,
    recipes: Vec<Recipe>,
    tools: Tools,
    place: &Place,
    mode: Mode,
    ladder: &Ladder,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let folders = context.folders()?;
    let gateway = place.gateway().await?;
    let (stage, curtain) = Stage::new();
    let mut settings = settings(arguments.on_failure, &folders, curtain, context);
    settings.parallel = arguments.parallel.into();
    settings.orphan_after = arguments.orphan_after;
    settings.connect = arguments.way.connect.map(Into::into);
    if arguments.no_image {
        settings.goal = Goal::Trial;
    }
    settings.tools = tools;
    let engine = Engine::new(gateway, settings, ladder.clone());
    let renderer = stage::renderer(mode, context, &folders, recipes.len() > 1);
    let showing = tokio::spawn(stage.play(engine.subscribe(), renderer, ladder.clone()));
    let options = RunOptions {
        if_changed: arguments.if_changed,
    };
    let report = tokio::select! {
        report = engine.bake(recipes, options) => Some(report),
        () = given_up(ladder) => None,
    };
    engine.close();
    if showing.await.is_err() {
        tracing::warn!("the renderer broke off");
    }
    if ladder.rung() == Rung::GiveUp {
        context.printer.say(&format!(
            "what was made stands in the ledgers in {}",
            folders.bakes().display()
        ));
    }
    let Some(report) = report else {
        return Ok(ExitCode::LeftBehind);
    };
    let report = report?;
    tell(&report, mode, context)?;
    if let Some(file) = &arguments.packer_manifest {
        packer_manifest::append(file, &made(&report, &folders)?)?;
    }
    Ok(report.exit_code())
}

/// The manifests of those that came to their end.
fn made(report: &RunReport, folders: &Folders) -> anyhow::Result<Vec<Manifest>> {
    let bakes = Bakes::under(&folders.home);
    let mut made = Vec::new();
    for result in &report.results {
        if let RunResult::Baked(report) = result
            && report.error.is_none()
        {
            made.extend(bakes.folder(&report.bake).manifest()?);
        }
    }
    Ok(made)
}

/// The engine tears down by itself; this is for when even that is too long.
pub(super) async fn given_up(ladder: &Ladder) {
    ladder.reached(Rung::GiveUp).await;
    tokio::time::sleep(LAST_WORDS).await;
}

pub(super) fn settings(
    on_failure: OnFailure,
    folders: &Folders,
    curtain: Curtain,
    context: &Context,
) -> Settings {
    let mut settings = Settings::new(&folders.home);
    settings.on_failure = match on_failure {
        OnFailure::Teardown => forno_bake::OnFailure::Teardown,
        OnFailure::Keep => forno_bake::OnFailure::Keep,
        OnFailure::Ask => forno_bake::OnFailure::Ask,
    };
    if context.printer.can_ask() {
        settings.ask = Some(Arc::new(Terminal::new(context.printer, curtain)));
    }
    settings.cache = Some(folders.cache.clone());
    env!("CARGO_PKG_VERSION").clone_into(&mut settings.forno_version);
    settings
}

/// What no event has told: recipes for which no bake was begun.
fn tell(report: &RunReport, mode: Mode, context: &Context) -> anyhow::Result<()> {
    let printer = context.printer;
    let theme = printer.prose;
    for result in &report.results {
        match result {
            RunResult::Unchanged {
                image,
                image_id,
                image_name,
            } => {
                if mode == Mode::Quiet {
                    printer.line(&format!("{image} {image_id}"))?;
                } else {
                    printer.say(&format!(
                        "{} {}: nothing has changed since {image_name} ({image_id})",
                        theme.skipped(),
                        theme.strong(image)
                    ));
                }
            }
            RunResult::Refused { image, error } => {
                printer.say(&format!("{} {}", theme.failed(), theme.strong(image)));
                failure::tell_bake(error, printer);
            }
            RunResult::Baked(_) => {}
        }
    }
    Ok(())
}
