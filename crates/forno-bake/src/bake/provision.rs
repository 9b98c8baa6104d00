//! Phase 5: the steps of the recipe, in order.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use forno_events::{BakeId, Event, Outcome, StepId};
use forno_guest::{Decide, Decision, Step, StepError, StepReport};
use forno_recipe::Action;

use super::connect::{Connected, raced};
use super::context::Context;
use super::guest_steps::{of_step, step};
use super::machine::gone_after_all;
use super::runs;
use crate::journal::Journal;
use crate::plan::ids;
use crate::{About, Answer, Ask, Error, ErrorKind, OnFailure, Question};

pub(super) async fn provision(ctx: &Context, builder: &Connected) -> Result<(), Error> {
    let file = &ctx.prepared.recipe.file;
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    for (index, one) in ctx.prepared.recipe.steps.iter().enumerate() {
        let id = ids::step(index);
        if ctx.has_passed(&id, &builder.machine.effect) {
            continue;
        }
        let Some(done) = step(one, folder) else {
            breakpoint(ctx, builder, &id, one).await?;
            ctx.pass(&id, &builder.machine.effect).await?;
            continue;
        };
        let name = one.name.clone();
        loop {
            let failed = |error| ErrorKind::Step {
                step: name.clone(),
                error,
            };
            match run(ctx, builder, &id, &done, failed).await {
                Ok(_) => break,
                // `--on-failure ask`: fix it by `forno shell`, and try again.
                Err(error) if again(ctx, &name, &error).await => {}
                Err(error) => return Err(error),
            }
        }
        ctx.pass(&id, &builder.machine.effect).await?;
    }
    Ok(())
}

/// One step of the recipe on a machine; the guest tells its start and its end.
pub(super) async fn run(
    ctx: &Context,
    machine: &Connected,
    id: &StepId,
    step: &Step,
    failed: impl FnOnce(String) -> ErrorKind + Send,
) -> Result<StepReport, Error> {
    let mut context = ctx.guest(id);
    context.decide = ctx.settings.ask.as_ref().map(|ask| {
        Arc::new(Person {
            ask: Arc::clone(ask),
            bake: ctx.prepared.bake.clone(),
            journal: ctx.journal.clone(),
        }) as Arc<dyn Decide>
    });
    context.resume = runs::cut_off(ctx, id);
    context.runs = Some(runs::log(ctx, id));
    let mut lost = false;
    let work = async {
        let done = machine.guest.run(step, &context).await;
        runs::over(ctx, id);
        done.map_err(|error| {
            lost = error.is_lost();
            of_step(&error, failed)
        })
    };
    match raced(ctx, id, &machine.machine, work).await {
        Err(error) if lost => {
            let after_all = gone_after_all(ctx, id, &machine.machine.id, true).await;
            Err(after_all.unwrap_or(error))
        }
        other => other,
    }
}

/// Waits for the person who looks into the builder. Nightly there is none, and nothing to
/// wait for.
async fn breakpoint(
    ctx: &Context,
    builder: &Connected,
    id: &StepId,
    step: &forno_recipe::Step,
) -> Result<(), Error> {
    let Some(ask) = &ctx.settings.ask else {
        ctx.emitter.emit(Event::StepFinished {
            step: id.clone(),
            outcome: Outcome::Skipped,
            attempt: 1,
            elapsed_ms: 0,
            message: Some("nobody can be asked here".to_owned()),
        });
        return Ok(());
    };
    let note = match &step.action {
        Action::Breakpoint(note) => note.as_ref(),
        _ => None,
    };
    let question = Question {
        bake: ctx.prepared.bake.clone(),
        step: step.name.clone(),
        about: About::Breakpoint(note.map(|note| ctx.journal.mask(note.shown()))),
        answers: vec![Answer::Continue, Answer::TearDown],
    };
    let failed = |error: &str| {
        Error::new(ErrorKind::Step {
            step: step.name.clone(),
            error: error.to_owned(),
        })
    };
    let work = async {
        tokio::select! {
            answer = ask.ask(question) => match answer {
                Answer::Continue => Ok(()),
                _ => Err(failed("ended by the person who was asked")),
            },
            () = tokio::time::sleep(step.timeout.get()) => {
                Err(failed(&format!("nobody has answered within {}", step.timeout))
                    .with_hint("give the step a longer `timeout`"))
            }
            () = ctx.cancel.cancelled() => Err(Error::cancelled("cancelled")),
        }
    };
    ctx.step(id, raced(ctx, id, &builder.machine, work)).await
}

/// Whether a person wants the step tried once more.
async fn again(ctx: &Context, step: &str, error: &Error) -> bool {
    let (OnFailure::Ask, Some(ask)) = (ctx.settings.on_failure, &ctx.settings.ask) else {
        return false;
    };
    if !matches!(error.kind, ErrorKind::Step { .. }) || ctx.cancel.is_cancelled() {
        return false;
    }
    let question = Question {
        bake: ctx.prepared.bake.clone(),
        step: step.to_owned(),
        about: About::Failure(ctx.journal.mask(&error.full())),
        answers: vec![Answer::Retry, Answer::Keep, Answer::TearDown],
    };
    let answer = tokio::select! {
        answer = ask.ask(question) => answer,
        () = ctx.cancel.cancelled() => Answer::TearDown,
    };
    if answer != Answer::Retry {
        ctx.answered_keep(answer == Answer::Keep);
    }
    answer == Answer::Retry
}

/// Asks for a step with `on_failure = "ask"`.
struct Person {
    ask: Arc<dyn Ask>,
    bake: BakeId,
    journal: Journal,
}

#[async_trait]
impl Decide for Person {
    async fn decide(&self, step: &str, error: &StepError) -> Decision {
        let question = Question {
            bake: self.bake.clone(),
            step: step.to_owned(),
            about: About::Failure(self.journal.mask(&error.to_string())),
            answers: vec![Answer::Retry, Answer::Continue, Answer::TearDown],
        };
        match self.ask.ask(question).await {
            Answer::Retry => Decision::Retry,
            Answer::Continue => Decision::Continue,
            Answer::Keep | Answer::TearDown => Decision::Fail,
        }
    }
}
