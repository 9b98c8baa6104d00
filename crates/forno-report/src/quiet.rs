//! The result and nothing else: on the data sink a line `IMAGE ID` per image,
//! on the prose sink what failed and what is left behind.

use std::io::{self, Write};

use forno_events::{Envelope, Event};

use crate::model::Story;
use crate::words::clean;
use crate::{Options, Renderer, Sink, summary};

/// Renders results and failures.
pub struct Quiet {
    prose: Sink,
    data: Sink,
    options: Options,
    story: Story,
}

impl Quiet {
    pub fn new(prose: Sink, data: Sink, options: Options) -> Self {
        Self {
            prose,
            data,
            options,
            story: Story::default(),
        }
    }
}

impl Renderer for Quiet {
    fn apply(&mut self, envelope: &Envelope) -> io::Result<()> {
        let bake = self.story.apply(envelope);
        if !matches!(envelope.body, Event::BakeFinished { .. }) {
            return Ok(());
        }
        let Some(finished) = &bake.finished else {
            return Ok(());
        };
        if let Some(id) = &finished.image_id {
            writeln!(self.data, "{} {}", clean(&bake.image), clean(id))?;
            self.data.flush()?;
        }
        if finished.exit_code != 0 || finished.error.is_some() || !bake.stuck.is_empty() {
            for line in summary::bake(self.options.theme, bake, self.options.bakes.as_deref()) {
                writeln!(self.prose, "{line}")?;
            }
            self.prose.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.data.flush()?;
        self.prose.flush()
    }
}

impl std::fmt::Debug for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quiet").finish_non_exhaustive()
    }
}
