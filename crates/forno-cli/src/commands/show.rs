//! `forno show`

use std::process;
use std::time::Duration;

use forno_bake::{BakeFolder, ExitCode, Outlook};
use forno_report::{BakeView, StepState, Story, duration};

use super::bakes::{moment, state};
use crate::cli::ShowArgs;
use crate::context::Context;
use crate::failure::CommandError;

pub(crate) fn run(arguments: &ShowArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let bake = find(&arguments.bake, context)?;
    if arguments.json {
        let Some(manifest) = bake.manifest()? else {
            return Err(CommandError::new(
                ExitCode::Unexpected,
                format!("{} has no manifest: it made no image", bake.id()),
            )
            .hint("`forno replay` shows what is recorded of it")
            .into());
        };
        context.printer.json(&manifest)?;
        return Ok(ExitCode::Done.into());
    }
    let events = bake.events().unwrap_or_default();
    let mut story = Story::default();
    for event in &events {
        story.apply(event);
    }
    let alive = bake.is_alive()?;
    let view = story.bakes().first();
    let printer = context.printer;
    let mut facts = vec![
        ("bake", bake.id().to_string()),
        ("state", state(view, alive).to_owned()),
    ];
    if let Some(first) = events.first() {
        facts.push(("began", moment(first.at)));
    }
    if let Some(view) = view {
        facts.extend(of_view(view));
    }
    match bake.outlook() {
        Some(Outlook::Resume) => {
            facts.push((
                "next",
                format!("`forno resume {}` goes on with it", bake.id()),
            ));
        }
        Some(Outlook::Sweep) => {
            facts.push(("next", "`forno sweep` removes what it left".to_owned()));
        }
        None => {}
    }
    facts.push(("folder", bake.path().display().to_string()));
    for (name, value) in facts {
        printer.line(&format!(
            "{} {value}",
            printer.data.faint(&format!("{name:<9}"))
        ))?;
    }
    if let Some(view) = view {
        printer.line("")?;
        let rows: Vec<_> = view.steps.iter().map(row).collect();
        printer.table(&["STEP", "PHASE", "NAME", "OUTCOME", "TOOK"], &rows)?;
        let remains = forno_report::remains(printer.data, view);
        if !remains.is_empty() {
            printer.line("")?;
        }
        for line in remains {
            printer.line(&line)?;
        }
    }
    Ok(ExitCode::Done.into())
}

fn of_view(view: &BakeView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("took", millis(view.elapsed_ms())),
        ("region", view.region.clone()),
        ("source", view.source.clone()),
        ("digest", view.digest.clone()),
    ];
    if let Some(finished) = &view.finished {
        if let Some(id) = &finished.image_id {
            let name = finished.image_name.as_deref().unwrap_or("");
            facts.push(("image", format!("{id} {name}").trim_end().to_owned()));
        }
        facts.push(("exit code", finished.exit_code.to_string()));
        if let Some(error) = &finished.error {
            facts.push(("error", error.replace('\n', "\n          ")));
        }
        if let Some(hint) = &finished.hint {
            facts.push(("hint", hint.replace('\n', "\n          ")));
        }
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn row(step: &forno_report::StepView) -> Vec<String> {
    let (outcome, took) = match &step.state {
        StepState::Announced => ("-".to_owned(), String::new()),
        StepState::Running { .. } => ("running".to_owned(), String::new()),
        StepState::Resting { .. } => ("to be tried again".to_owned(), String::new()),
        StepState::Done {
            outcome,
            elapsed_ms,
            ..
        } => {
            let attempts = match step.attempt {
                0 | 1 => String::new(),
                attempts => format!(" (attempt {attempts})"),
            };
            (format!("{}{attempts}", word(*outcome)), millis(*elapsed_ms))
        }
    };
    vec![
        step.info.id.to_string(),
        step.info.phase.clone(),
        forno_report::clean(&step.info.name),
        outcome,
        took,
    ]
}

fn word(outcome: forno_events::Outcome) -> &'static str {
    use forno_events::Outcome;
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "failed",
        Outcome::Skipped => "skipped",
        Outcome::Cancelled => "cancelled",
        Outcome::Tolerated => "tolerated",
    }
}

fn millis(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}

/// The bake that a person means.
pub(crate) fn find(name: &str, context: &Context) -> anyhow::Result<BakeFolder> {
    let bakes = forno_bake::Bakes::under(&context.folders()?.home);
    bakes.find(name)?.ok_or_else(|| {
        let message = if name == "last" {
            format!("no bakes in {}", bakes.path().display())
        } else {
            format!("no bake `{name}` in {}", bakes.path().display())
        };
        CommandError::usage(message)
            .hint("`forno bakes` lists them")
            .into()
    })
}
