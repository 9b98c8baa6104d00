//! How far the step that runs has come on its machine, as a file in the bake's folder:
//! for the process that goes on with it, should this one be killed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forno_events::StepId;
use forno_guest::{RunLog, RunState};
use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::folder;
use crate::journal::Journal;

/// `steps/STEP.run`.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    run: RunState,
    /// The first event that may tell more than the state knows of.
    event: u64,
}

struct Runs {
    step: StepId,
    path: PathBuf,
    journal: Journal,
}

impl RunLog for Runs {
    fn save(&self, state: &RunState) {
        // Lines that are held back, because a secret may go on in the next one, are not
        // told yet: the state before them stands.
        let Some(event) = self.journal.position(&self.step) else {
            return;
        };
        let saved = Saved {
            run: state.clone(),
            event,
        };
        if let Err(error) = replace(&self.path, &saved) {
            tracing::warn!(%error, step = %self.step, "how far the step is cannot be remembered");
        }
    }
}

/// Whole or not at all, for whoever comes when this process is gone. It need not
/// survive the machine: after that nobody has the key.
fn replace(path: &Path, saved: &Saved) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&file, saved)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

pub(super) fn log(ctx: &Context, step: &StepId) -> Arc<dyn RunLog> {
    Arc::new(Runs {
        step: step.clone(),
        path: folder::step_run(&ctx.folder, step),
        journal: ctx.journal.clone(),
    })
}

/// What another process has left of this step. What that one told beyond it will be
/// told again, and is not recorded twice.
pub(super) fn cut_off(ctx: &Context, step: &StepId) -> Option<RunState> {
    let bytes = fs_err::read(folder::step_run(&ctx.folder, step)).ok()?;
    let saved: Saved = serde_json::from_slice(&bytes).ok()?;
    ctx.journal.expect_again(step, saved.event);
    Some(saved.run)
}

/// The step has come to an end that was told.
pub(super) fn over(ctx: &Context, step: &StepId) {
    // Missing is what it shall be.
    let _ = fs_err::remove_file(folder::step_run(&ctx.folder, step));
}

/// Whatever runs there were, their machine is gone.
pub(super) fn forget_all(ctx: &Context) {
    for step in &ctx.prepared.steps {
        over(ctx, &step.id);
    }
}
