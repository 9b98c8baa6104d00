//! `forno sweep`

use std::process;
use std::sync::Arc;
use std::time::Duration;

use forno_bake::{
    Consent, Engine, Error, ErrorKind, ExitCode, Fate, Found, Settings, SweepOptions, SweepReport,
};
use forno_report::Mode;
use forno_saga::{Ladder, Rung};
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::ask::{Agreed, Asking};
use crate::cli::{Output, SweepArgs};
use crate::context::{Context, block_on};
use crate::failure::CommandError;
use crate::place::Place;
use crate::signals;

/// How long a sweep that is told to leave may take to do so by itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &SweepArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let options = options(arguments, context)?;
    let project = context.settings_of_project()?;
    let mode = match context.printer.mode(Output::Auto, &context.environment) {
        Mode::Bars => Mode::Bars,
        _ => Mode::Plain,
    };
    let ladder = Ladder::new();
    let code = block_on(async {
        let signals = signals::watch(ladder.clone())?;
        let beginning = arguments.place();
        let place = tokio::select! {
            place = Place::open(&beginning, &project, mode, context) => place?,
            () = ladder.reached(Rung::Undo) => {
                signals::tell_early_end(&ladder, context.printer);
                return Ok(ExitCode::Interrupted);
            }
        };
        let swept = tokio::select! {
            swept = regions(arguments, &options, &place, &ladder, context) => Some(swept),
            () = given_up(&ladder) => None,
            () = announce(&ladder, context) => None,
        };
        let Some(swept) = swept else {
            context
                .printer
                .say("what was being removed may still be there; sweep again");
            return Ok(ExitCode::LeftBehind);
        };
        let closed = place.close().await;
        signals.abort();
        let (report, regions) = swept.and_then(|swept| closed.map(|()| swept))?;
        tell(&report, arguments, context)?;
        let code = if arguments.all_regions {
            report.exit_code_of_all(regions)
        } else {
            report.exit_code()
        };
        Ok(match code {
            ExitCode::Done if ladder.rung() > Rung::Running => ExitCode::Interrupted,
            code => code,
        })
    })?;
    Ok(code.into())
}

fn options(arguments: &SweepArgs, context: &Context) -> anyhow::Result<SweepOptions> {
    let packer: Option<Arc<dyn Consent>> = if !arguments.packer_leftovers {
        None
    } else if arguments.yes || arguments.dry_run {
        Some(Arc::new(Agreed))
    } else if context.printer.can_ask() {
        Some(Arc::new(Asking::new(context.printer)))
    } else {
        return Err(
            CommandError::usage("nobody can be asked here about what Packer left")
                .hint("look with --dry-run, then give --yes")
                .into(),
        );
    };
    Ok(SweepOptions {
        dry_run: arguments.dry_run,
        older_than: arguments.older_than,
        packer,
    })
}

/// All regions at once; one that cannot be swept is told and stops no other.
async fn regions(
    arguments: &SweepArgs,
    options: &SweepOptions,
    place: &Place,
    ladder: &Ladder,
    context: &Context,
) -> anyhow::Result<(SweepReport, usize)> {
    let first = place.gateway().await?;
    let mut regions = if arguments.all_regions {
        first.regions().await?
    } else if arguments.regions.is_empty() {
        vec![first.region().to_owned()]
    } else {
        arguments.regions.clone()
    };
    regions.sort();
    regions.dedup();
    let home = context.folders()?.home;
    let several = regions.len() > 1;
    let mut sweeping: FuturesUnordered<_> = regions
        .iter()
        .map(|region| {
            let settings = Settings::new(&home);
            async move {
                let swept = async {
                    let gateway = place.gateway_in(region).await;
                    let gateway =
                        gateway.map_err(|error| Error::new(ErrorKind::Planning(error)))?;
                    let engine = Engine::new(gateway, settings, ladder.clone());
                    let tell = |news: &str| {
                        if several {
                            context.printer.say(&format!("{region}: {news}"));
                        } else {
                            context.printer.say(news);
                        }
                    };
                    engine.sweep(options.clone(), &tell).await
                };
                (region, swept.await)
            }
        })
        .collect();
    let mut reports = Vec::new();
    while let Some((region, swept)) = sweeping.next().await {
        reports.push(match swept {
            Ok(report) => report,
            Err(error) if several => SweepReport::not_looked_at(region, &error),
            Err(error) => return Err(error.into()),
        });
    }
    Ok((SweepReport::merge(reports), regions.len()))
}

/// Says at once that a signal was heard. Never returns.
async fn announce(ladder: &Ladder, context: &Context) {
    for (rung, then) in [
        (Rung::Undo, "seeing through what is being removed"),
        (Rung::Hurry, "waiting for nothing"),
        (Rung::GiveUp, "leaving everything as it is"),
    ] {
        ladder.reached(rung).await;
        let reason = ladder.reason().unwrap_or_default();
        context.printer.say(&format!("{reason}: {then}"));
    }
    std::future::pending::<()>().await;
}

async fn given_up(ladder: &Ladder) {
    ladder.reached(Rung::GiveUp).await;
    tokio::time::sleep(LAST_WORDS).await;
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
        Fate::NotLookedAt { error, .. } => ("not looked at", error.clone()),
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
