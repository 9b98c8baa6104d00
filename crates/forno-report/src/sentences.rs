//! What plain lines and bars say in the same words.

use forno_events::{Outcome, Resource, Severity, Unit};

use crate::model::{BakeView, StepView, Waiting};
use crate::theme::Theme;
use crate::words::{bytes, clean, millis};

/// `provision: operating system packages`; a phase whose only step has its name is said once.
pub(crate) fn step_name(step: &StepView) -> String {
    let phase = clean(step.phase());
    let name = clean(&step.info.name);
    if phase.is_empty() || phase == name {
        name
    } else {
        format!("{phase}: {name}")
    }
}

pub(crate) fn finished_step(
    theme: Theme,
    step: &StepView,
    outcome: Outcome,
    elapsed_ms: u64,
    message: Option<&str>,
) -> String {
    let mut line = format!(
        "{} {} {}",
        theme.outcome(outcome),
        step_name(step),
        theme.faint(&millis(elapsed_ms))
    );
    if step.attempt > 1 {
        line.push_str(&theme.faint(&format!(" (attempt {})", step.attempt)));
    }
    if let Some(message) = message.map(first_line).filter(|m| !m.is_empty()) {
        line.push_str(&format!(" {} {message}", theme.dot()));
    }
    line
}

pub(crate) fn started_bake(theme: Theme, bake: &BakeView) -> String {
    let digest: String = clean(&bake.digest).chars().take(12).collect();
    let mut line = format!(
        "{} baking {}",
        theme.start(),
        theme.strong(&clean(&bake.image))
    );
    for (word, value) in [("from", bake.source.as_str()), ("in", bake.region.as_str())] {
        if !value.is_empty() {
            line.push_str(&format!(" {word} {}", clean(value)));
        }
    }
    if !digest.is_empty() {
        line.push_str(&theme.faint(&format!(" (digest {digest}, {})", bake.id)));
    }
    line
}

/// Why it stops, as the engine says it.
pub(crate) fn cancelled(theme: Theme, reason: &str) -> String {
    format!(
        "{} {}",
        theme.outcome(Outcome::Cancelled),
        theme.warn(&first_line(reason))
    )
}

/// `instance i-0 to run: pending` and `, waiting 12.0s of at most 5m00s`
pub(crate) fn waiting(waiting: &Waiting, waited_ms: u64) -> (String, String) {
    let mut line = clean(&waiting.what);
    if let Some(resource) = &waiting.resource
        && !line.contains(resource.as_str())
    {
        line.push_str(&format!(" ({})", clean(resource)));
    }
    if !waiting.state.is_empty() {
        line.push_str(&format!(": {}", clean(&waiting.state)));
    }
    let mut long = format!(", waiting {}", millis(waited_ms));
    if waiting.deadline_ms > 0 {
        long.push_str(&format!(" of at most {}", millis(waiting.deadline_ms)));
    }
    (line, long)
}

/// `42%`, `12.0 MiB of 40.0 MiB`, `3 of 7`.
pub(crate) fn progress(done: u64, total: Option<u64>, unit: Unit) -> String {
    match (unit, total) {
        (Unit::Percent, _) => format!("{done}%"),
        (Unit::Bytes, Some(total)) => format!("{} of {}", bytes(done), bytes(total)),
        (Unit::Bytes, None) => bytes(done),
        (Unit::Count, Some(total)) => format!("{done} of {total}"),
        (Unit::Count, None) => done.to_string(),
    }
}

pub(crate) fn resource(resource: &Resource) -> String {
    format!("{} {}", clean(&resource.kind), clean(&resource.id))
}

/// A remark of the engine, and a hint on a line of its own.
pub(crate) fn note(
    theme: Theme,
    severity: Severity,
    message: &str,
    hint: Option<&str>,
) -> Vec<String> {
    let word = match severity {
        Severity::Info => theme.faint("note:"),
        Severity::Warning => theme.warn("warning:"),
    };
    let mut lines = labelled(&word, message);
    if let Some(hint) = hint {
        lines.extend(labelled(&theme.hint(), hint));
    }
    lines
}

/// A label and a text whose further lines stand under its first.
pub fn labelled(label: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(console::measure_text_width(label) + 1);
    text.lines()
        .enumerate()
        .map(|(number, line)| {
            let line = clean(line);
            if number == 0 {
                format!("{label} {line}")
            } else {
                format!("{indent}{line}")
            }
        })
        .collect()
}

pub(crate) fn first_line(text: &str) -> String {
    clean(text.lines().next().unwrap_or(""))
}
