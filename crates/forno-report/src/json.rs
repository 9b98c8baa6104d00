//! An envelope per line, for programs: exactly what `events.jsonl` records.

use std::io::{self, Write};

use forno_events::Envelope;

use crate::{Renderer, Sink};

/// Renders JSON lines.
pub struct Json {
    out: Sink,
}

impl Json {
    pub fn new(out: Sink) -> Self {
        Self { out }
    }
}

impl Renderer for Json {
    fn apply(&mut self, envelope: &Envelope) -> io::Result<()> {
        let mut line = serde_json::to_vec(envelope)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        // A program may act on a step that ends; it need not see each line of output at once.
        if envelope.body.is_lossy() {
            Ok(())
        } else {
            self.out.flush()
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Json").finish_non_exhaustive()
    }
}
