//! `forno sweep`

use std::process;

use forno_bake::{Engine, ExitCode, Fate, Found, Settings, SweepOptions, SweepReport};
use forno_recipe::Project;
use forno_report::Mode;
use forno_saga::{Ladder, Rung};

use crate::cli::{Output, SweepArgs, WhereArgs};
use crate::context::{Context, block_on};
use crate::place::Place;
use crate::signals;

pub(crate) fn run(arguments: &SweepArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    // What is left behind needs no recipes: one that is broken must not stand in the way.
    let project = Project::find(&context.directory).ok();
    let region = project.as_ref().and_then(Project::region);
    let ladder = Ladder::new();
    let report = block_on(async {
        let signals = signals::watch(ladder.clone())?;
        let mut reports = Vec::new();
        for place in arguments.places() {
            if ladder.rung() > Rung::Running {
                break;
            }
            reports.push(sweep(arguments, &place, region, &ladder, context).await?);
        }
        signals.abort();
        Ok(SweepReport::merge(reports))
    })?;
    tell(&report, arguments, context)?;
    let code = match report.exit_code() {
        ExitCode::Done if ladder.rung() > Rung::Running => ExitCode::Interrupted,
        code => code,
    };
    Ok(code.into())
}

async fn sweep(
    arguments: &SweepArgs,
    place: &WhereArgs,
    region: Option<&str>,
    ladder: &Ladder,
    context: &Context,
) -> anyhow::Result<SweepReport> {
    let mode = match context.printer.mode(Output::Auto, &context.environment) {
        Mode::Bars => Mode::Bars,
        _ => Mode::Plain,
    };
    let place = Place::open(place, region, mode, context).await?;
    let swept = async {
        let settings = Settings::new(context.folders()?.home);
        let engine = Engine::new(place.gateway().await?, settings, ladder.clone());
        let options = SweepOptions {
            dry_run: arguments.dry_run,
            older_than: arguments.older_than,
        };
        let tell = |news: &str| context.printer.say(news);
        anyhow::Ok(engine.sweep(options, &tell).await?)
    };
    let swept = swept.await;
    let closed = place.close().await;
    swept.and_then(|report| closed.map(|()| report))
}

fn tell(report: &SweepReport, arguments: &SweepArgs, context: &Context) -> anyhow::Result<()> {
    let printer = context.printer;
    if arguments.json {
        printer.json(&report.found)?;
        return Ok(());
    }
    if report.found.is_empty() {
        printer.say("nothing is left behind");
        return Ok(());
    }
    let rows: Vec<_> = report.found.iter().map(row).collect();
    printer.table(&["BAKE", "KIND", "ID", "REGION", "WHAT", "WHY"], &rows)?;
    for found in &report.found {
        if let Fate::Left { command, .. } = &found.fate {
            printer.labelled("by hand", command);
        }
    }
    Ok(())
}

fn row(found: &Found) -> Vec<String> {
    let (what, why) = match &found.fate {
        Fate::Removed => ("removed", found.reason.clone()),
        Fate::WouldBeRemoved => ("to be removed", found.reason.clone()),
        Fate::Finished => ("marked as finished", found.reason.clone()),
        Fate::WouldBeFinished => ("to be marked as finished", found.reason.clone()),
        Fate::Spared { why } => ("spared", why.clone()),
        Fate::Left { error, .. } => ("left", error.clone()),
    };
    vec![
        found.bake.clone(),
        found.kind.clone(),
        found.id.clone(),
        found.region.clone(),
        what.to_owned(),
        why,
    ]
}
