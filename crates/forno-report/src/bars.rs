//! Live bars on a terminal: what runs is drawn in place, what is over scrolls away.
//!
//! Each bake in work owns a few lines at the bottom of the screen: its running
//! step with elapsed time and progress, what it waits for or the task it is at,
//! and the latest lines of output. How many depends on how many bakes share
//! the screen. All text is composed here, to the width of the terminal;
//! indicatif's part is to keep the drawn lines in their place.

use std::io;
use std::time::Duration;

use forno_events::{BakeId, Envelope, Event};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use jiff::Timestamp;

use crate::model::{BakeView, StepState, StepView, Story};
use crate::sentences::{self, step_name};
use crate::words::{clean, fit, millis, width};
use crate::{Options, Renderer, summary};

/// Lines of output under a running step, where there is room.
const TAIL: usize = 4;

/// Redraws per second at most.
const RATE: u8 = 12;

type Size = Box<dyn Fn() -> (usize, usize) + Send>;

/// Renders live bars.
pub struct Bars {
    multi: MultiProgress,
    /// Rows and columns of the terminal as it is now.
    size: Size,
    options: Options,
    story: Story,
    drawn: Vec<(BakeId, ProgressBar)>,
    now: Timestamp,
    frame: usize,
    /// Lines that wait for the end of a pause.
    paused: Option<Vec<String>>,
}

impl Bars {
    /// Draws on a terminal; anything that moves like one will do.
    pub fn new<T: TermLike + Clone + 'static>(terminal: T, options: Options) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), RATE);
        Self::on(target, terminal, options)
    }

    /// As [`new`](Self::new), but every change is drawn at once: for recordings and tests.
    pub fn unhurried<T: TermLike + Clone + 'static>(terminal: T, options: Options) -> Self {
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        Self::on(target, terminal, options)
    }

    fn on<T: TermLike + 'static>(
        target: ProgressDrawTarget,
        terminal: T,
        options: Options,
    ) -> Self {
        Self {
            multi: MultiProgress::with_draw_target(target),
            size: Box::new(move || (terminal.height().into(), terminal.width().into())),
            options,
            story: Story::default(),
            drawn: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
            frame: 0,
            paused: None,
        }
    }

    /// Lines that stay.
    fn print(&mut self, lines: Vec<String>) -> io::Result<()> {
        if let Some(held) = &mut self.paused {
            held.extend(lines);
            return Ok(());
        }
        for line in lines {
            // An empty text would print nothing at all.
            let line = if line.is_empty() { " " } else { &line };
            self.multi.println(line)?;
        }
        Ok(())
    }

    fn redraw(&mut self) {
        if self.paused.is_some() {
            return;
        }
        let (rows, columns) = (self.size)();
        let budget = rows.saturating_sub(1) / self.drawn.len().max(1);
        for (id, bar) in &self.drawn {
            let Some(bake) = self.story.bake(id) else {
                continue;
            };
            let lines = self.compose(bake, budget.max(1), columns);
            let fitted: Vec<_> = lines
                .iter()
                .map(|line| fit(line, columns.max(1), self.options.theme.ellipsis()))
                .collect();
            bar.set_message(fitted.join("\n"));
            bar.tick();
        }
    }

    /// The lines of a bake in work, at most `budget` of them.
    fn compose(&self, bake: &BakeView, budget: usize, columns: usize) -> Vec<String> {
        let theme = self.options.theme;
        let elapsed = bake.elapsed_at(self.now);
        let head = format!(
            "{} {}",
            theme.spinner(self.frame),
            theme.strong(&clean(&bake.image))
        );
        let count = theme.faint(&format!("{}/{}", bake.done(), bake.steps.len()));
        let active: Vec<_> = bake.active().collect();
        let mut lines = Vec::new();
        for step in &active {
            let mut line = format!("{head} {count} {}", step_name(step));
            line.push_str(&details(step, elapsed));
            lines.push(line);
            if let Some(second) = second_line(theme, step, elapsed, columns) {
                lines.push(second);
            }
        }
        if active.is_empty() {
            lines.push(format!("{head} {count} {}", theme.faint(&millis(elapsed))));
        }
        if bake.cancelled.is_some() {
            lines.insert(0, theme.warn("  stopping and tearing down"));
        }
        if let Some(step) = active.last() {
            let room = budget.saturating_sub(lines.len()).min(TAIL);
            let skipped = step.tail.len().saturating_sub(room);
            for line in step.tail.iter().skip(skipped) {
                lines.push(format!("  {} {}", theme.pipe(), theme.faint(line)));
            }
        }
        lines.truncate(budget);
        lines
    }

    fn scroll(&self, envelope: &Envelope) -> Vec<String> {
        let theme = self.options.theme;
        let Some(bake) = self.story.bake(&envelope.bake) else {
            return Vec::new();
        };
        let several = self.options.several || self.story.bakes().len() > 1;
        let mark = |line: String| {
            if several {
                format!("{} {line}", theme.faint(&clean(&bake.image)))
            } else {
                line
            }
        };
        match &envelope.body {
            Event::BakeStarted { .. } => vec![sentences::started_bake(theme, bake)],
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
                .map(mark)
                .into_iter()
                .collect(),
            Event::StepRetry { step, error, .. } => {
                let name = bake.step(step).map(step_name).unwrap_or_default();
                let error = sentences::first_line(error);
                vec![mark(format!("{} {name}: {error}", theme.retry()))]
            }
            Event::ResourceStuck {
                resource, error, ..
            } => {
                let what = sentences::resource(resource);
                let error = sentences::first_line(error);
                let warning = theme.warn("warning:");
                vec![mark(format!(
                    "{warning} {what} could not be removed: {error}"
                ))]
            }
            Event::Note {
                severity,
                message,
                hint,
            } => sentences::note(theme, *severity, message, hint.as_deref()),
            Event::CancelRequested { reason } => vec![mark(sentences::cancelled(theme, reason))],
            Event::BakeFinished { .. } => summary::bake(theme, bake, self.options.bakes.as_deref()),
            _ => Vec::new(),
        }
    }

    /// Bars exist for bakes in work, and only for those.
    fn arrange(&mut self, id: &BakeId) {
        let over = self
            .story
            .bake(id)
            .is_some_and(|bake| bake.finished.is_some());
        let at = self.drawn.iter().position(|(known, _)| known == id);
        match (at, over) {
            (None, false) => {
                let bar = self.multi.add(ProgressBar::new_spinner());
                bar.set_style(style());
                self.drawn.push((id.clone(), bar));
            }
            (Some(at), true) => {
                let (_, bar) = self.drawn.remove(at);
                self.multi.remove(&bar);
            }
            _ => {}
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Elapsed time, progress and attempt, after the name of a step.
fn details(step: &StepView, elapsed_ms: u64) -> String {
    let mut details = String::new();
    if let Some((done, total, unit)) = step.progress {
        details.push_str(&format!(" {}", sentences::progress(done, total, unit)));
    }
    match step.state {
        StepState::Running { since_ms } => {
            details.push_str(&format!(" {}", millis(elapsed_ms.saturating_sub(since_ms))));
            if step.attempt > 1 {
                details.push_str(&format!(" (attempt {})", step.attempt));
            }
        }
        StepState::Resting { .. } => {
            details.push_str(&format!(" (before attempt {})", step.attempt));
        }
        StepState::Announced | StepState::Done { .. } => {}
    }
    details
}

/// What a step waits for, or the task that it is at.
fn second_line(
    theme: crate::Theme,
    step: &StepView,
    elapsed_ms: u64,
    columns: usize,
) -> Option<String> {
    if let Some(waiting) = &step.waiting {
        // Where there is not room for all, how long matters more than the last words of why.
        let (what, long) = sentences::waiting(waiting, waiting.waited_at(elapsed_ms));
        let room = columns.saturating_sub(width(&long) + width(&theme.wait()) + 3);
        let what = fit(&what, room, theme.ellipsis());
        return Some(format!("  {} {what}{long}", theme.wait()));
    }
    let (name, outcome) = step.task.as_ref()?;
    let outcome = outcome
        .as_ref()
        .map(|outcome| theme.faint(&format!(": {}", clean(outcome))))
        .unwrap_or_default();
    Some(format!("  {} {name}{outcome}", theme.dot()))
}

impl Renderer for Bars {
    fn apply(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.story.apply(envelope);
        self.now = self.now.max(envelope.at);
        let lines = self.scroll(envelope);
        self.arrange(&envelope.bake);
        self.print(lines)?;
        self.redraw();
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.now = now;
        self.frame = self.frame.wrapping_add(1);
        self.redraw();
        Ok(())
    }

    fn pause(&mut self) -> io::Result<()> {
        if self.paused.is_none() {
            self.paused = Some(Vec::new());
            self.multi.clear()?;
        }
        Ok(())
    }

    fn resume(&mut self) -> io::Result<()> {
        if let Some(held) = self.paused.take() {
            self.print(held)?;
            self.redraw();
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.resume()?;
        for (_, bar) in self.drawn.drain(..) {
            self.multi.remove(&bar);
        }
        self.multi.clear()?;
        let theme = self.options.theme;
        let lines = if let [bake] = self.story.bakes()
            && bake.finished.is_none()
        {
            vec![summary::unfinished(theme, bake)]
        } else {
            summary::overview(theme, self.story.bakes())
        };
        self.print(lines)
    }
}

/// How often a live owner of bars should [`tick`](Renderer::tick) them.
pub const TICK: Duration = Duration::from_millis(100);

impl std::fmt::Debug for Bars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bars").finish_non_exhaustive()
    }
}
