//! Progress of something that belongs to no bake: making a disk before the
//! first one, starting an endpoint.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use forno_events::{Outcome, Unit};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::words::{clean, duration, fit};
use crate::{Mode, Sink, Theme, sentences};

/// What takes less needs no telling.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Between two lines about the same.
const OFTEN: Duration = Duration::from_secs(30);

/// A line that says what is being done, and stays when it is over.
pub struct Activity {
    surface: Surface,
    theme: Theme,
    title: String,
    detail: String,
    begun: Instant,
    told: Option<Instant>,
}

enum Surface {
    Bar {
        bar: ProgressBar,
        columns: Box<dyn Fn() -> usize + Send>,
    },
    /// What is over in a moment leaves no lines.
    Lines {
        prose: Sink,
        titled: bool,
    },
    Nothing,
}

impl Activity {
    /// Begins: bars on the terminal behind standard error, else lines on `prose`,
    /// else nothing.
    pub fn begin(mode: Mode, theme: Theme, prose: Sink, title: &str) -> Self {
        match mode {
            Mode::Bars => Self::on_terminal(console::Term::stderr(), theme, title),
            Mode::Plain | Mode::Json => Self::on_lines(prose, theme, title),
            Mode::Quiet => Self::on(Surface::Nothing, theme, title),
        }
    }

    pub fn on_terminal<T: TermLike + Clone + 'static>(
        terminal: T,
        theme: Theme,
        title: &str,
    ) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 12);
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        let columns = Box::new(move || usize::from(terminal.width()));
        bar.set_message(clean(title));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::on(Surface::Bar { bar, columns }, theme, title)
    }

    pub fn on_lines(prose: Sink, theme: Theme, title: &str) -> Self {
        let titled = false;
        Self::on(Surface::Lines { prose, titled }, theme, title)
    }

    fn on(surface: Surface, theme: Theme, title: &str) -> Self {
        Self {
            surface,
            theme,
            title: clean(title),
            detail: String::new(),
            begun: Instant::now(),
            told: None,
        }
    }

    /// What it is at now.
    pub fn detail(&mut self, detail: &str) -> io::Result<()> {
        let detail = clean(detail);
        if detail == self.detail {
            return Ok(());
        }
        self.detail = detail;
        self.told = None;
        self.tell("")
    }

    /// How far it is with that.
    pub fn progress(&mut self, done: u64, total: Option<u64>, unit: Unit) -> io::Result<()> {
        self.tell(&sentences::progress(done, total, unit))
    }

    fn tell(&mut self, amount: &str) -> io::Result<()> {
        let separator = if amount.is_empty() { "" } else { " " };
        match &mut self.surface {
            Surface::Bar { bar, columns } => {
                let text = format!("{}: {}{separator}{amount}", self.title, self.detail);
                // The spinner and the clock stand beside it.
                let room = columns().saturating_sub(12).max(1);
                bar.set_message(fit(&text, room, self.theme.ellipsis()));
                Ok(())
            }
            Surface::Lines { prose, titled } => {
                let now = Instant::now();
                if now - self.begun < AT_ONCE {
                    return Ok(());
                }
                if !*titled {
                    writeln!(prose, "{} {}", self.theme.start(), self.title)?;
                    *titled = true;
                }
                if self.told.is_some_and(|told| now - told < OFTEN) {
                    return Ok(());
                }
                self.told = Some(now);
                writeln!(
                    prose,
                    "  {} {}{separator}{amount}",
                    self.theme.dot(),
                    self.detail
                )?;
                prose.flush()
            }
            Surface::Nothing => Ok(()),
        }
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// It is over; `what` replaces its title where given.
    pub fn finish(self, outcome: Outcome, what: Option<&str>) -> io::Result<()> {
        let line = format!(
            "{} {} {}",
            self.theme.outcome(outcome),
            what.map_or_else(|| self.title.clone(), clean),
            self.theme.faint(&duration(self.begun.elapsed()))
        );
        match self.surface {
            Surface::Bar { bar, .. } => {
                bar.disable_steady_tick();
                bar.println(line);
                bar.finish_and_clear();
                Ok(())
            }
            Surface::Lines { mut prose, .. } => {
                writeln!(prose, "{line}")?;
                prose.flush()
            }
            Surface::Nothing => Ok(()),
        }
    }

    /// It was not worth telling: leaves no trace where none was left yet.
    pub fn dismiss(self) {
        if let Surface::Bar { bar, .. } = self.surface {
            bar.disable_steady_tick();
            bar.finish_and_clear();
        }
    }
}

impl std::fmt::Debug for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activity")
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}
