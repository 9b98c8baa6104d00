//! What a recipe wants done on a machine where something failed, before it goes.
//!
//! None of it changes how the bake ends. A person who wants the bake to stop does not
//! wait for it, and a machine that is gone has nothing to tell.

use std::path::Path;

use forno_events::Severity;

use super::context::Context;
use super::guest_steps::step;
use super::provision::run;
use crate::plan::ids;
use crate::{Error, ErrorKind, ExitCode};

pub(super) async fn rescue(ctx: &Context, failure: &Error) {
    let steps = &ctx.prepared.recipe.on_failure;
    if steps.is_empty() || failure.exit_code() == ExitCode::Interrupted {
        return;
    }
    let machine = ctx
        .machine()
        .filter(|_| !matches!(failure.kind, ErrorKind::MachineGone { .. }));
    let Some(machine) = machine else {
        let why = "the steps of on_failure are not run: no machine is connected";
        return ctx.note(Severity::Warning, why);
    };
    let file = &ctx.prepared.recipe.file;
    let folder = file.parent().unwrap_or(Path::new(""));
    for (index, one) in steps.iter().enumerate() {
        let Some(done) = step(one, folder) else {
            continue;
        };
        let name = &one.name;
        let failed = |error| ErrorKind::Step {
            step: name.clone(),
            error,
        };
        let id = ids::on_failure(index);
        match run(ctx, &machine, &id, &done, failed).await {
            Ok(_) => {}
            Err(error) if error.exit_code() == ExitCode::Interrupted => return,
            Err(error) => ctx.note(Severity::Warning, format!("on_failure: {error}")),
        }
    }
}
