//! The end of a bake in one block: what was made, or why not, and what is left.

use std::path::Path;

use forno_events::{Outcome, Resource};

use crate::model::{BakeView, Finished};
use crate::sentences::{labelled, resource, step_name};
use crate::theme::Theme;
use crate::words::{clean, millis};

/// Lines of a failed step's output that are repeated at the end.
const LAST_LINES: usize = 10;

/// Everything about one finished bake; nothing for one that goes on.
pub(crate) fn bake(theme: Theme, bake: &BakeView, bakes: Option<&Path>) -> Vec<String> {
    let Some(finished) = &bake.finished else {
        return Vec::new();
    };
    let mut lines = vec![headline(theme, bake, finished)];
    let phases: Vec<_> = bake
        .phases()
        .iter()
        .map(|phase| format!("{} {}", clean(&phase.name), millis(phase.elapsed_ms)))
        .collect();
    if !phases.is_empty() {
        lines.push(format!("  {}", theme.faint(&phases.join(", "))));
    }
    lines.extend(failure(theme, bake, finished, bakes));
    lines.extend(remains(theme, bake).iter().map(|line| format!("  {line}")));
    lines
}

/// One line: how it ended.
pub(crate) fn headline(theme: Theme, bake: &BakeView, finished: &Finished) -> String {
    let mut line = format!(
        "{} {}",
        theme.outcome(finished.outcome),
        theme.strong(&clean(&bake.image))
    );
    match (&finished.image_id, finished.outcome) {
        (Some(id), _) => {
            line.push_str(&format!(": {}", theme.strong(&clean(id))));
            if let Some(name) = &finished.image_name {
                line.push_str(&format!(" {}", clean(name)));
            }
            if !bake.region.is_empty() {
                line.push_str(&format!(" in {}", clean(&bake.region)));
            }
        }
        (None, Outcome::Ok) => line.push_str(": it works; no image was asked for"),
        (None, Outcome::Skipped) => line.push_str(": nothing to do"),
        (None, Outcome::Cancelled) => line.push_str(": interrupted"),
        (None, Outcome::Failed | Outcome::Tolerated) => line.push_str(": failed"),
    }
    line.push_str(&theme.faint(&format!(" {}", millis(bake.elapsed_ms()))));
    if finished.exit_code != 0 {
        line.push_str(&theme.faint(&format!(" (exit code {})", finished.exit_code)));
    }
    line
}

fn failure(
    theme: Theme,
    bake: &BakeView,
    finished: &Finished,
    bakes: Option<&Path>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(error) = &finished.error {
        lines.extend(labelled(&theme.bad("error:"), error));
    }
    if finished.outcome == Outcome::Failed
        && let Some(step) = bake.failed_step()
    {
        let skipped = step.tail.len().saturating_sub(LAST_LINES);
        if !step.tail.is_empty() {
            lines.push(format!("the last output of {}:", step_name(step)));
        }
        for line in step.tail.iter().skip(skipped) {
            lines.push(format!("{} {line}", theme.pipe()));
        }
        if let Some(bakes) = bakes {
            let log = bakes
                .join(bake.id.as_str())
                .join("steps")
                .join(format!("{}.log", step.info.id));
            let log = clean(&log.display().to_string());
            lines.push(format!("its log: {log}"));
        }
    }
    if let Some(hint) = &finished.hint {
        lines.extend(labelled(&theme.hint(), hint));
    }
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

/// What is still there beside the image, and how to remove it.
pub fn remains(theme: Theme, bake: &BakeView) -> Vec<String> {
    let mut lines = Vec::new();
    let stuck = bake.stuck.len();
    let finished = bake.finished.as_ref();
    let leaks = finished.map_or(0, |finished| finished.leaks);
    let leaks = usize::try_from(leaks).unwrap_or(usize::MAX).max(stuck);
    if leaks > 0 {
        let noun = if leaks == 1 { "resource" } else { "resources" };
        lines.push(theme.bad(&format!("left behind: {leaks} {noun}")));
        for stuck in &bake.stuck {
            lines.push(format!(
                "  {} in {}: {}",
                resource(&stuck.resource),
                clean(&stuck.resource.region),
                clean(&stuck.error)
            ));
            lines.push(format!("    {}", clean(&stuck.command)));
        }
        if leaks > stuck {
            lines.push(format!(
                "  {} more: `forno show {}` lists what was made",
                leaks - stuck,
                bake.id
            ));
        }
    }
    let kept: Vec<&Resource> = bake
        .resources
        .iter()
        .filter(|made| !is_result(bake, made))
        .filter(|made| bake.stuck.iter().all(|stuck| stuck.resource != **made))
        .collect();
    if !kept.is_empty() {
        lines.push(theme.warn("still there:"));
        for made in kept {
            lines.push(format!("  {} in {}", resource(made), clean(&made.region)));
        }
    }
    lines
}

/// The image of a good bake, and the snapshots that it consists of.
fn is_result(bake: &BakeView, made: &Resource) -> bool {
    let finished = bake.finished.as_ref();
    let Some(image) = finished.and_then(|finished| finished.image_id.as_ref()) else {
        return false;
    };
    made.id == *image || made.kind == "snapshot"
}

/// The end of several bakes, a line each; nothing when there was only one.
pub(crate) fn overview(theme: Theme, bakes: &[BakeView]) -> Vec<String> {
    if bakes.len() < 2 {
        return Vec::new();
    }
    let mut lines = vec![String::new()];
    for bake in bakes {
        lines.push(match &bake.finished {
            Some(finished) => headline(theme, bake, finished),
            None => unfinished(theme, bake),
        });
    }
    lines
}

/// A recording that ends before its bake did.
pub(crate) fn unfinished(theme: Theme, bake: &BakeView) -> String {
    format!(
        "{} {}: no end recorded after {}",
        theme.outcome(Outcome::Cancelled),
        theme.strong(&clean(&bake.image)),
        millis(bake.elapsed_ms())
    )
}
