//! `forno bakes`

use std::process;

use forno_bake::{BakeFolder, Bakes, ExitCode, Outlook};
use forno_events::Outcome;
use forno_report::{BakeView, Story, duration};
use forno_saga::Closing;
use jiff::Timestamp;
use serde_json::json;

use crate::cli::BakesArgs;
use crate::context::Context;

/// One line of the listing.
struct Entry {
    folder: BakeFolder,
    state: String,
    image_id: String,
    region: String,
    began: Option<Timestamp>,
    elapsed_ms: u64,
    outlook: Option<Outlook>,
}

pub(crate) fn run(arguments: &BakesArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let bakes = Bakes::under(&context.folders()?.home);
    let entries: Vec<Entry> = bakes
        .list()?
        .into_iter()
        .filter(|bake| {
            let wanted = arguments.image.as_deref();
            wanted.is_none_or(|image| bake.id().image() == image)
        })
        .map(examine)
        .collect::<Result<_, _>>()?;
    if arguments.json {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({
                    "bake": entry.folder.id(),
                    "image": entry.folder.id().image(),
                    "state": entry.state,
                    "next": entry.outlook.map(command),
                    "image_id": Some(&entry.image_id).filter(|id| !id.is_empty()),
                    "region": entry.region,
                    "began": entry.began,
                    "elapsed_ms": entry.elapsed_ms,
                    "folder": entry.folder.path(),
                })
            })
            .collect();
        context.printer.json(&entries)?;
        return Ok(ExitCode::Done.into());
    }
    if entries.is_empty() {
        context.printer.say("no bakes yet");
        return Ok(ExitCode::Done.into());
    }
    let rows: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let state = match entry.outlook {
                Some(outlook) => format!("{}: {}", entry.state, command(outlook)),
                None => entry.state,
            };
            vec![
                entry.folder.id().to_string(),
                state,
                entry.began.map(moment).unwrap_or_default(),
                duration(std::time::Duration::from_millis(entry.elapsed_ms)),
                entry.region,
                entry.image_id,
            ]
        })
        .collect();
    context.printer.table(
        &["BAKE", "STATE", "BEGAN", "TOOK", "REGION", "IMAGE ID"],
        &rows,
    )?;
    Ok(ExitCode::Done.into())
}

fn examine(folder: BakeFolder) -> anyhow::Result<Entry> {
    // A bake that was killed before its first event has no file of events.
    let events = folder.events().unwrap_or_default();
    let mut story = Story::default();
    for event in &events {
        story.apply(event);
    }
    let view = story.bakes().first();
    let alive = folder.is_alive()?;
    Ok(Entry {
        state: match state(view, alive) {
            // Nobody told its events how it ended, but a sweep its ledger.
            "dead" if was_swept(&folder) => "swept",
            state => state,
        }
        .to_owned(),
        image_id: view
            .and_then(|view| view.finished.as_ref()?.image_id.clone())
            .unwrap_or_default(),
        region: view.map(|view| view.region.clone()).unwrap_or_default(),
        began: events.first().map(|event| event.at),
        elapsed_ms: view.map_or(0, BakeView::elapsed_ms),
        outlook: folder.outlook(),
        folder,
    })
}

/// The command that there is to be used on a dead bake.
pub(crate) fn command(outlook: Outlook) -> &'static str {
    match outlook {
        Outlook::Resume => "resume",
        Outlook::Sweep => "sweep",
    }
}

fn was_swept(bake: &BakeFolder) -> bool {
    bake.ledger().is_ok_and(|history| {
        history
            .fold
            .closing()
            .is_some_and(|end| end != Closing::Leaking)
    })
}

/// What became of a bake, in a word.
pub(crate) fn state(view: Option<&BakeView>, alive: bool) -> &'static str {
    match view.and_then(|view| view.finished.as_ref()) {
        Some(finished) if finished.leaks > 0 => "left behind",
        Some(finished) => match finished.outcome {
            Outcome::Ok => "done",
            Outcome::Skipped => "nothing to do",
            Outcome::Cancelled => "interrupted",
            Outcome::Failed | Outcome::Tolerated => "failed",
        },
        None if alive => "running",
        None => "dead",
    }
}

/// A moment in this machine's own time, to the minute.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}
