//! Shows bakes while they happen, or again.

use std::io;

use forno_bake::Subscription;
use forno_report::{Mode, Options, Renderer, TICK};
use forno_saga::Ladder;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::context::Context;
use crate::settings::Folders;

/// The renderer of a mode, as this process would have it.
pub(crate) fn renderer(
    mode: Mode,
    context: &Context,
    folders: &Folders,
    several: bool,
) -> Box<dyn Renderer> {
    let printer = context.printer;
    let options = Options {
        theme: printer.prose,
        bakes: Some(folders.bakes()),
        several,
    };
    forno_report::renderer(mode, options, printer.prose_sink(), printer.data_sink())
}

/// Asks the stage to leave the terminal alone, and to take it back.
#[derive(Clone, Debug)]
pub(crate) struct Curtain(mpsc::UnboundedSender<Cue>);

#[derive(Debug)]
enum Cue {
    Pause(oneshot::Sender<()>),
    Resume,
}

impl Curtain {
    /// Returns once nothing is drawn any more, until what is returned is dropped.
    pub(crate) async fn pause(&self) -> Closed<'_> {
        let (sender, done) = oneshot::channel();
        if self.0.send(Cue::Pause(sender)).is_ok() {
            // An error means that the stage is over, which is as quiet as can be.
            drop(done.await);
        }
        Closed(self)
    }
}

/// The terminal belongs to somebody else, however that one ends.
#[derive(Debug)]
pub(crate) struct Closed<'a>(&'a Curtain);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        drop(self.0.0.send(Cue::Resume));
    }
}

/// Where the renderer works.
#[derive(Debug)]
pub(crate) struct Stage {
    cues: mpsc::UnboundedReceiver<Cue>,
}

impl Stage {
    pub(crate) fn new() -> (Self, Curtain) {
        let (sender, cues) = mpsc::unbounded_channel();
        (Self { cues }, Curtain(sender))
    }

    /// Renders until the last event. When nobody can see it any more the bake
    /// is stopped: a pipeline whose reader has gone is over.
    pub(crate) async fn play(
        mut self,
        mut events: Subscription,
        mut renderer: Box<dyn Renderer>,
        ladder: Ladder,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = true;
        loop {
            let shown = tokio::select! {
                event = events.recv() => match event {
                    Some(event) if seen => renderer.apply(&event),
                    Some(_) => Ok(()),
                    None => break,
                },
                Some(cue) = self.cues.recv() => match cue {
                    Cue::Pause(done) => {
                        let paused = renderer.pause();
                        // Whoever asked may have been cancelled meanwhile.
                        if done.send(()).is_err() {
                            tracing::debug!("nobody waits for the pause any more");
                        }
                        paused
                    }
                    Cue::Resume => renderer.resume(),
                },
                _ = ticks.tick(), if seen => renderer.tick(Timestamp::now()),
            };
            if let Err(error) = shown
                && seen
            {
                seen = false;
                unseen(&error, &ladder);
            }
        }
        if seen && let Err(error) = renderer.finish() {
            unseen(&error, &ladder);
        }
    }
}

fn unseen(error: &io::Error, ladder: &Ladder) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        ladder.climb("nobody reads the output any more");
    } else {
        tracing::warn!(%error, "what happens can no longer be shown");
    }
}
