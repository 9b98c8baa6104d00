//! Phase 11: whatever was made and is not the product goes, always.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use forno_events::{Event, Outcome, Severity, StepId};
use forno_saga::{EffectId, UndoEvent, UndoReport, Unreleased};

use super::context::Context;
use super::effects::resource;
use super::undo::CloudUndo;
use crate::journal::millis;
use crate::plan::ids;

/// Asks for the removal of one thing and does not wait: [`all`] sees it through.
pub(super) async fn begin(ctx: &Context, effect: &EffectId) {
    let undo = undo(ctx);
    let observer = Observer::new(ctx);
    let observe = |event: UndoEvent<'_>| observer.see(&event);
    let begun = ctx
        .saga
        .undoing(&undo, ctx.settings.undo, &ctx.ladder, &observe)
        .begin(effect)
        .await;
    if let Err(error) = begun {
        tracing::debug!(%error, %effect, "an early removal failed; teardown will do it");
    }
}

/// Removes everything that may exist and is not kept. What cannot be removed
/// is told with the command that does it by hand.
pub(super) async fn all(ctx: &Context) -> Vec<Unreleased> {
    let step = ids::teardown();
    ctx.emitter.emit(Event::StepStarted {
        step: step.clone(),
        attempt: 1,
    });
    let started = Instant::now();
    let undo = undo(ctx);
    let observer = Observer::new(ctx);
    let observe = |event: UndoEvent<'_>| observer.see(&event);
    let UndoReport {
        unreleased,
        ledger_errors,
        ..
    } = ctx
        .saga
        .undoing(&undo, ctx.settings.undo, &ctx.ladder, &observe)
        .all()
        .await;
    for error in ledger_errors {
        ctx.note(
            Severity::Warning,
            format!("teardown goes on without its record: {error}"),
        );
    }
    super::connect::forget(ctx);
    let left = unreleased.len();
    ctx.emitter.emit(Event::StepFinished {
        step,
        outcome: if left == 0 {
            Outcome::Ok
        } else {
            Outcome::Failed
        },
        attempt: 1,
        elapsed_ms: millis(started.elapsed()),
        message: (left > 0).then(|| format!("{left} left behind")),
    });
    unreleased
}

fn undo(ctx: &Context) -> CloudUndo {
    CloudUndo::new(ctx.gateway.clone(), ctx.prepared.bake.clone())
}

/// Tells what happens as events, each wait when it changes and as often as
/// any other wait.
struct Observer<'a> {
    ctx: &'a Context,
    step: StepId,
    heard: Mutex<HashMap<EffectId, (String, Instant)>>,
}

impl<'a> Observer<'a> {
    fn new(ctx: &'a Context) -> Self {
        Self {
            ctx,
            step: ids::teardown(),
            heard: Mutex::default(),
        }
    }

    fn see(&self, event: &UndoEvent<'_>) {
        let region = &self.ctx.prepared.region;
        let event = match event {
            UndoEvent::Started(_) => return,
            UndoEvent::Waiting {
                effect,
                state,
                waited,
                limit,
            } => {
                if !self.is_news(&effect.id, state) {
                    return;
                }
                Event::Waiting {
                    step: self.step.clone(),
                    what: format!("the {} to go", effect.kind.replace('-', " ")),
                    resource: Some(resource(effect, region).id),
                    state: (*state).to_owned(),
                    waited_ms: millis(*waited),
                    deadline_ms: millis(*limit),
                }
            }
            UndoEvent::Released(effect) => Event::ResourceReleased(resource(effect, region)),
            UndoEvent::Stuck(left) => Event::ResourceStuck {
                resource: resource(&left.effect, region),
                error: left.failure.to_string(),
                command: left.command.clone(),
            },
        };
        self.ctx.emitter.emit(event);
    }

    fn is_news(&self, effect: &EffectId, state: &str) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let news = heard
            .get(effect)
            .is_none_or(|(last, at)| last != state || at.elapsed() >= self.ctx.settings.heartbeat);
        if news {
            heard.insert(effect.clone(), (state.to_owned(), Instant::now()));
        }
        news
    }
}
