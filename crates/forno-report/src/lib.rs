//! Renders the events of bakes for people and programs.
//!
//! A renderer is a fold over [`Envelope`]s: it is fed one at a time, in any
//! order that a recording may hold, and writes to sinks that its owner gives.
//! So the same code draws a bake while it runs and replays it a year later, and
//! tests render into a buffer.
//!
//! Prose goes to the *prose* sink (standard error), data to the *data* sink
//! (standard output): `forno bake --output json | program` and
//! `forno bake --output quiet` can be used in scripts.

mod activity;
mod bars;
mod json;
mod mode;
mod model;
mod plain;
mod quiet;
mod sentences;
mod summary;
mod theme;
mod words;

use std::io;

use forno_events::Envelope;
use jiff::Timestamp;

pub use activity::Activity;
pub use bars::{Bars, TICK};
pub use json::Json;
pub use mode::{Mode, Surroundings};
pub use model::{BakeView, Finished, Phase, StepState, StepView, Story, Stuck, Waiting};
pub use plain::Plain;
pub use quiet::Quiet;
pub use sentences::labelled;
pub use summary::remains;
pub use theme::Theme;
pub use words::{bytes, clean, duration, width};

/// Folds events into something to look at.
///
/// An error is one of the sink; a broken pipe means that nobody looks any more.
pub trait Renderer: Send {
    fn apply(&mut self, envelope: &Envelope) -> io::Result<()>;

    /// Time has passed without an event: redraw what depends on the clock.
    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }

    /// Leaves the terminal to somebody else, such as a question, until [`resume`](Self::resume).
    fn pause(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn resume(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// No event follows.
    fn finish(&mut self) -> io::Result<()>;
}

/// What the renderers need to know beside the events.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub theme: Theme,
    /// The folder that holds a folder per bake; to name the logs of failed steps.
    pub bakes: Option<std::path::PathBuf>,
    /// More than one bake is to come: say with each line whose it is, from the first on.
    pub several: bool,
}

/// Where text goes.
pub type Sink = Box<dyn io::Write + Send>;

/// Makes the renderer of a mode, drawing bars on the terminal behind standard error.
pub fn renderer(mode: Mode, options: Options, prose: Sink, data: Sink) -> Box<dyn Renderer> {
    match mode {
        Mode::Bars => Box::new(Bars::new(console::Term::stderr(), options)),
        Mode::Plain => Box::new(Plain::new(prose, options)),
        Mode::Json => Box::new(Json::new(data)),
        Mode::Quiet => Box::new(Quiet::new(prose, data, options)),
    }
}
