//! A line per event, for logs: nothing moves, nothing is drawn twice.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use forno_events::{BakeId, Envelope, Event, StepId, Stream};
use jiff::{SignedDuration, Timestamp};

use crate::model::{BakeView, StepState, Story};
use crate::sentences::{self, labelled, step_name};
use crate::words::{clean, millis};
use crate::{Options, Renderer, Sink, summary};

/// A wait is told after so long, and again after so long.
const FIRST_HEARTBEAT_MS: u64 = 10_000;
const HEARTBEAT_MS: u64 = 30_000;

/// A task that takes so long is told before it ends.
const LONG_TASK: SignedDuration = SignedDuration::from_secs(10);

/// Renders plain lines.
pub struct Plain {
    out: Sink,
    options: Options,
    story: Story,
    /// When each step last told that it waits or proceeds.
    heartbeats: HashMap<(BakeId, StepId), u64>,
    /// Tasks that have begun and are not told yet: most end at once, and their end
    /// says enough.
    begun: BTreeMap<(BakeId, StepId), Begun>,
}

/// The beginning of a task.
struct Begun {
    name: String,
    at: Timestamp,
    elapsed_ms: u64,
}

impl Plain {
    pub fn new(out: Sink, options: Options) -> Self {
        Self {
            out,
            options,
            story: Story::default(),
            heartbeats: HashMap::new(),
            begun: BTreeMap::new(),
        }
    }

    /// Whether it is time to tell again of something that takes long; the first
    /// time once `begun_ms` says that it has taken long enough.
    fn due(&mut self, envelope: &Envelope, step: &StepId, begun_ms: u64) -> bool {
        let now = envelope.elapsed_ms;
        let key = (envelope.bake.clone(), step.clone());
        let due = match self.heartbeats.get(&key) {
            Some(last) => now.saturating_sub(*last) >= HEARTBEAT_MS,
            None => begun_ms >= FIRST_HEARTBEAT_MS,
        };
        if due {
            self.heartbeats.insert(key, now);
        }
        due
    }

    /// For how long a step has been running.
    fn running_ms(&self, envelope: &Envelope, step: &StepId) -> u64 {
        let step = self.bake(envelope).and_then(|bake| bake.step(step));
        match step.map(|step| &step.state) {
            Some(StepState::Running { since_ms }) => envelope.elapsed_ms.saturating_sub(*since_ms),
            _ => 0,
        }
    }

    fn lines(&mut self, envelope: &Envelope) -> Vec<String> {
        let theme = self.options.theme;
        match &envelope.body {
            Event::Waiting {
                step, waited_ms, ..
            } => {
                if !self.due(envelope, step, *waited_ms) {
                    return Vec::new();
                }
                let step = self.bake(envelope).and_then(|bake| bake.step(step));
                step.and_then(|step| step.waiting.as_ref())
                    .map(|wait| {
                        let (what, long) = sentences::waiting(wait, wait.waited_ms);
                        format!("{} {what}{long}", theme.wait())
                    })
                    .into_iter()
                    .collect()
            }
            Event::Progress {
                step,
                done,
                total,
                unit,
            } => {
                if !self.due(envelope, step, self.running_ms(envelope, step)) {
                    return Vec::new();
                }
                let name = self.bake(envelope).and_then(|bake| bake.step(step));
                let name = name.map(step_name).unwrap_or_default();
                let text = sentences::progress(*done, *total, *unit);
                vec![format!("{} {name}: {text}", theme.wait())]
            }
            Event::StepStarted { step, .. } => {
                // What is long is counted per attempt.
                let key = (envelope.bake.clone(), step.clone());
                self.heartbeats.remove(&key);
                self.lifecycle(envelope)
            }
            _ => self.lifecycle(envelope),
        }
    }

    fn bake(&self, envelope: &Envelope) -> Option<&BakeView> {
        self.story.bake(&envelope.bake)
    }

    fn lifecycle(&self, envelope: &Envelope) -> Vec<String> {
        let theme = self.options.theme;
        let Some(bake) = self.bake(envelope) else {
            return Vec::new();
        };
        match &envelope.body {
            Event::BakeStarted { .. } => vec![sentences::started_bake(theme, bake)],
            Event::StepStarted { step, attempt } => {
                let mut line = format!("{} ", theme.start());
                line.push_str(&bake.step(step).map(step_name).unwrap_or_default());
                if *attempt > 1 {
                    line.push_str(&theme.faint(&format!(" (attempt {attempt})")));
                }
                vec![line]
            }
            Event::StepRetry {
                step,
                next_attempt,
                delay_ms,
                error,
            } => {
                let name = bake.step(step).map(step_name).unwrap_or_default();
                labelled(
                    &theme.retry(),
                    &format!(
                        "{name}: attempt {next_attempt} in {}: {error}",
                        millis(*delay_ms)
                    ),
                )
            }
            Event::StepFinished {
                step,
                outcome,
                elapsed_ms,
                message,
                ..
            } => bake
                .step(step)
                .map(|step| {
                    sentences::finished_step(theme, step, *outcome, *elapsed_ms, message.as_deref())
                })
                .into_iter()
                .collect(),
            Event::Task {
                name,
                outcome: Some(outcome),
                ..
            } => {
                let outcome = theme.faint(&clean(outcome));
                vec![format!("  {} {}: {outcome}", theme.dot(), clean(name))]
            }
            Event::Output { stream, line, .. } => {
                let line = clean(line);
                let source = match stream {
                    Stream::Stdout | Stream::Stderr => String::new(),
                    Stream::Console => theme.faint("console "),
                };
                vec![format!("  {source}{} {line}", theme.pipe())]
            }
            Event::ResourceCreated(made) => {
                let text = sentences::resource(made);
                vec![format!("  {}", theme.faint(&format!("+ {text}")))]
            }
            Event::ResourceReleased(gone) => {
                let text = sentences::resource(gone);
                vec![format!("  {}", theme.faint(&format!("- {text}")))]
            }
            Event::ResourceStuck {
                resource,
                error,
                command,
            } => {
                let what = sentences::resource(resource);
                let mut lines = labelled(
                    &theme.warn("warning:"),
                    &format!("{what} could not be removed: {error}"),
                );
                lines.extend(labelled(&theme.hint(), command));
                lines
            }
            Event::Note {
                severity,
                message,
                hint,
            } => sentences::note(theme, *severity, message, hint.as_deref()),
            Event::CancelRequested { reason } => vec![sentences::cancelled(theme, reason)],
            Event::BakeFinished { .. } => summary::bake(theme, bake, self.options.bakes.as_deref()),
            Event::Task { outcome: None, .. }
            | Event::Waiting { .. }
            | Event::Progress { .. }
            | Event::Unknown => Vec::new(),
        }
    }

    /// `[  12.3s] base `
    fn prefix(&self, bake: &BakeId, elapsed_ms: u64) -> String {
        let theme = self.options.theme;
        let mut prefix = theme.faint(&format!("[{:>7}]", millis(elapsed_ms)));
        if (self.options.several || self.story.bakes().len() > 1)
            && let Some(bake) = self.story.bake(bake)
        {
            prefix.push_str(&format!(" {}", theme.strong(&clean(&bake.image))));
        }
        prefix.push(' ');
        prefix
    }

    fn print(&mut self, bake: &BakeId, elapsed_ms: u64, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let prefix = self.prefix(bake, elapsed_ms);
        for line in lines {
            writeln!(self.out, "{}", format!("{prefix}{line}").trim_end())?;
        }
        self.out.flush()
    }

    /// Keeps the beginning of a task back, or tells it when something else is
    /// heard of its step before its end.
    fn begin_task(&mut self, envelope: &Envelope) -> io::Result<()> {
        let Some(step) = envelope.body.step() else {
            return Ok(());
        };
        let key = (envelope.bake.clone(), step.clone());
        match &envelope.body {
            Event::Task {
                name,
                outcome: None,
                ..
            } => {
                let begun = Begun {
                    name: clean(name),
                    at: envelope.at,
                    elapsed_ms: envelope.elapsed_ms,
                };
                match self.begun.insert(key, begun) {
                    Some(before) => self.tell_begun(&envelope.bake, &before),
                    None => Ok(()),
                }
            }
            Event::Task {
                name,
                outcome: Some(_),
                ..
            } => match self.begun.remove(&key) {
                Some(begun) if begun.name != clean(name) => self.tell_begun(&envelope.bake, &begun),
                _ => Ok(()),
            },
            Event::Waiting { .. } | Event::Progress { .. } => Ok(()),
            _ => match self.begun.remove(&key) {
                Some(begun) => self.tell_begun(&envelope.bake, &begun),
                None => Ok(()),
            },
        }
    }

    fn tell_begun(&mut self, bake: &BakeId, begun: &Begun) -> io::Result<()> {
        let line = format!("  {} {}", self.options.theme.dot(), begun.name);
        self.print(bake, begun.elapsed_ms, &[line])
    }
}

impl Renderer for Plain {
    fn apply(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.story.apply(envelope);
        self.begin_task(envelope)?;
        let lines = self.lines(envelope);
        self.print(&envelope.bake, envelope.elapsed_ms, &lines)
    }

    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        let long: Vec<_> = self
            .begun
            .iter()
            .filter(|(_, begun)| now.duration_since(begun.at) >= LONG_TASK)
            .map(|(key, _)| key.clone())
            .collect();
        for key in long {
            if let Some(begun) = self.begun.remove(&key) {
                self.tell_begun(&key.0, &begun)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let theme = self.options.theme;
        let bakes = self.story.bakes();
        let lines = if let [bake] = bakes
            && bake.finished.is_none()
        {
            vec![summary::unfinished(theme, bake)]
        } else {
            summary::overview(theme, bakes)
        };
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}
