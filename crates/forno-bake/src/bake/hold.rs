//! A failed bake whose machine somebody wants to look at.
//!
//! The process stays: only it has the key, which is on no disk, and only while
//! it lives does `forno shell` find its agent. So nothing is ever left behind
//! on purpose; the machine goes when the process is told to end, or when the
//! time of the bake is over.

use forno_events::{Event, Severity};
use forno_saga::{Deadline, Rung};

use super::context::Context;
use super::machine::gone;
use crate::journal::millis;
use crate::plan::ids;

/// Waits until the machine may go. `false`: there is none to look at.
pub(super) async fn hold(ctx: &Context, total: &Deadline) -> bool {
    let Some(machine) = ctx.machine() else {
        return false;
    };
    let step = ids::teardown();
    let bake = &ctx.prepared.bake;
    ctx.emitter.emit(Event::Note {
        severity: Severity::Warning,
        message: format!(
            "{} is kept until {} at the latest",
            machine.machine.id, ctx.prepared.expires
        ),
        hint: Some(format!(
            "look into it with `forno shell {bake}`; Ctrl-C here removes it"
        )),
    });
    let heartbeat = async {
        loop {
            ctx.emitter.emit(Event::Waiting {
                step: step.clone(),
                what: "you to be done".to_owned(),
                resource: Some(machine.machine.id.to_string()),
                state: "kept".to_owned(),
                waited_ms: millis(total.waited()),
                deadline_ms: millis(total.limit()),
            });
            tokio::time::sleep(ctx.settings.heartbeat * 6).await;
        }
    };
    tokio::select! {
        () = ctx.ladder.reached(Rung::Undo) => {}
        () = total.reached() => ctx.note(Severity::Warning, "the time of the bake is over"),
        error = gone(ctx, &step, &machine.machine.id) => {
            ctx.note(Severity::Warning, error.full());
        }
        () = heartbeat => {}
        () = machine.lifeline.mend(&*machine.link, &ctx.cancel) => {}
    }
    true
}
