//! A machine, and what can be done to it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forno_events::{Event, Outcome};
use forno_link::{Link, Watch};
use tokio_util::sync::CancellationToken;

use crate::context::millis;
use crate::error::StepErrorKind;
use crate::{
    Action, Decision, OnFailure, Package, ReadyOptions, ReadyReport, SealOptions, SealReport, Step,
    StepContext, StepError, StepReport,
};

/// For a connection that broke between two steps.
const RECONNECT: Duration = Duration::from_mins(2);

/// A running machine at the end of a link.
#[derive(Clone, Debug)]
pub struct Guest {
    link: Arc<dyn Link>,
}

impl Guest {
    pub fn new(link: Arc<dyn Link>) -> Self {
        Self { link }
    }

    pub fn link(&self) -> &Arc<dyn Link> {
        &self.link
    }

    /// Does one step, and tells everything about it: `StepStarted` for every
    /// attempt, `StepRetry` between them and `StepFinished` at the end are
    /// emitted here, by nobody else.
    ///
    /// An error means that the bake must not go on; what `on-failure` lets pass
    /// is a report with its error inside.
    pub async fn run(&self, step: &Step, ctx: &StepContext) -> Result<StepReport, StepError> {
        let started = Instant::now();
        let mut attempts = step.attempts.max(1);
        let mut attempt = 0;
        let finished = |outcome, attempt, error: Option<&StepError>| {
            ctx.emitter.emit(Event::StepFinished {
                step: ctx.step.clone(),
                outcome,
                attempt,
                elapsed_ms: millis(started.elapsed()),
                message: error.map(ToString::to_string),
            });
        };
        let report = |outcome, attempts, error| StepReport {
            outcome,
            attempts,
            elapsed: started.elapsed(),
            error,
        };
        loop {
            attempt += 1;
            ctx.emitter.emit(Event::StepStarted {
                step: ctx.step.clone(),
                attempt,
            });
            let Err(error) = self.attempt(step, ctx).await else {
                finished(Outcome::Ok, attempt, None);
                return Ok(report(Outcome::Ok, attempt, None));
            };
            if error.is_cancelled() {
                finished(Outcome::Cancelled, attempt, Some(&error));
                return Err(error);
            }
            if attempt == attempts {
                let decision = match step.on_failure {
                    OnFailure::Fail => Decision::Fail,
                    OnFailure::Continue => Decision::Continue,
                    OnFailure::Ask => match &ctx.decide {
                        Some(decide) => decide.decide(&step.name, &error).await,
                        None => Decision::Fail,
                    },
                };
                match decision {
                    Decision::Fail => {
                        finished(Outcome::Failed, attempt, Some(&error));
                        return Err(error);
                    }
                    Decision::Continue => {
                        finished(Outcome::Tolerated, attempt, Some(&error));
                        return Ok(report(Outcome::Tolerated, attempt, Some(error)));
                    }
                    Decision::Retry => attempts += 1,
                }
            }
            ctx.emitter.emit(Event::StepRetry {
                step: ctx.step.clone(),
                next_attempt: attempt + 1,
                delay_ms: millis(step.pause),
                error: error.to_string(),
            });
            tokio::select! {
                () = tokio::time::sleep(step.pause) => {}
                () = ctx.cancel.cancelled() => {
                    let error = StepError::new(StepErrorKind::Cancelled);
                    finished(Outcome::Cancelled, attempt, Some(&error));
                    return Err(error);
                }
            }
        }
    }

    async fn attempt(&self, step: &Step, ctx: &StepContext) -> Result<(), StepError> {
        let what = step.action.kind();
        within(step.timeout, what, ctx, |ctx| async move {
            if !self.link.is_connected() {
                self.link
                    .reconnect(RECONNECT, &Watch::none(), &ctx.cancel)
                    .await?;
            }
            let link = &*self.link;
            match &step.action {
                Action::Shell(shell) => crate::shell::run(link, shell, &ctx).await,
                Action::Upload(upload) => crate::file::upload(link, upload, &ctx).await,
                Action::Download(download) => crate::file::download(link, download, &ctx).await,
                Action::Ansible(ansible) => crate::ansible::run(link, ansible, &ctx).await,
                Action::Reboot => crate::reboot::run(link, step.timeout, &ctx).await,
                Action::Assert(assertion) => crate::assertion::run(link, assertion, &ctx).await,
            }
        })
        .await
    }

    /// Waits until the machine has finished booting: cloud-init is through and
    /// the package manager is free. Emits `Waiting` only; the caller emits the
    /// start and end of the step.
    pub async fn wait_ready(
        &self,
        options: &ReadyOptions,
        ctx: &StepContext,
    ) -> Result<ReadyReport, StepError> {
        within(
            options.within,
            "waiting for the machine",
            ctx,
            |ctx| async move { crate::ready::wait(&*self.link, options, &ctx).await },
        )
        .await
    }

    /// The installed packages, sorted by name.
    pub async fn packages(&self, ctx: &StepContext) -> Result<Vec<Package>, StepError> {
        crate::packages::list(&*self.link, ctx).await
    }

    /// Makes the machine ready to become an image: forgets what is its own,
    /// looks for secrets, checks both, and syncs its disk. The link's
    /// connection stays; a new one can no longer be made. The machine must be
    /// stopped after it and not used again.
    pub async fn seal(
        &self,
        options: &SealOptions,
        ctx: &StepContext,
    ) -> Result<SealReport, StepError> {
        crate::seal::run(&*self.link, options, ctx).await
    }
}

/// Work with a deadline. When it is over the work is cancelled and still waited
/// for, so that what it runs on the machine has ended.
async fn within<'a, T, F>(
    limit: Duration,
    what: &str,
    ctx: &StepContext,
    work: impl FnOnce(StepContext) -> F + 'a,
) -> Result<T, StepError>
where
    F: Future<Output = Result<T, StepError>> + 'a,
{
    let cancel: CancellationToken = ctx.cancel.child_token();
    let mut inner = ctx.clone();
    inner.cancel = cancel.clone();
    let work = work(inner);
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = tokio::time::sleep(limit) => {}
    }
    cancel.cancel();
    match work.await {
        Ok(value) => Ok(value),
        Err(error) if ctx.cancel.is_cancelled() => Err(error),
        Err(error) if error.is_cancelled() => Err(StepError {
            kind: StepErrorKind::TimedOut {
                what: what.to_owned(),
                after: limit,
            },
            hint: None,
            tail: error.tail,
        }),
        Err(error) => Err(error),
    }
}
