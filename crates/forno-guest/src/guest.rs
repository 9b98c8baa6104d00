//! A machine, and what can be done to it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forno_events::{Event, Outcome};
use forno_link::{Link, Watch};
use tokio_util::sync::CancellationToken;

use crate::context::millis;
use crate::error::StepErrorKind;
use crate::shell::{Attempt, Held, Loose, Luggage};
use crate::{
    Action, Decision, OnFailure, Package, ReadyOptions, ReadyReport, RunState, SealOptions,
    SealReport, Shell, Step, StepContext, StepError, StepReport,
};

/// For a connection that broke between two steps.
const RECONNECT: Duration = Duration::from_mins(2);

/// A running machine at the end of a link.
#[derive(Clone, Debug)]
pub struct Guest {
    link: Arc<dyn Link>,
    loose: Arc<Loose>,
}

impl Guest {
    pub fn new(link: Arc<dyn Link>) -> Self {
        Self {
            link,
            loose: Arc::default(),
        }
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
    ///
    /// With [`StepContext::resume`] set, the first attempt is the one that was
    /// begun elsewhere: a script that still runs, or has ended meanwhile, is
    /// taken up, one that had not begun yet begins; a playbook and a local script count as
    /// failed; everything else is done again.
    pub async fn run(&self, step: &Step, ctx: &StepContext) -> Result<StepReport, StepError> {
        let started = Instant::now();
        let mut resume = ctx.resume.as_ref();
        let mut attempt = resume.map_or(0, |state| state.attempt.saturating_sub(1));
        let mut attempts = step.attempts.max(attempt + 1);
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
            let (result, held) = self.attempt(step, ctx, attempt, resume.take()).await;
            let over = match result {
                Ok(()) => {
                    finished(Outcome::Ok, attempt, None);
                    Some(Ok(report(Outcome::Ok, attempt, None)))
                }
                Err(error) if error.is_cancelled() => {
                    finished(Outcome::Cancelled, attempt, Some(&error));
                    Some(Err(error))
                }
                Err(error) => {
                    let decision = if attempt < attempts {
                        Decision::Retry
                    } else {
                        decide(step, &error, ctx).await
                    };
                    match decision {
                        Decision::Fail => {
                            finished(Outcome::Failed, attempt, Some(&error));
                            Some(Err(error))
                        }
                        Decision::Continue => {
                            finished(Outcome::Tolerated, attempt, Some(&error));
                            Some(Ok(report(Outcome::Tolerated, attempt, Some(error))))
                        }
                        Decision::Retry => {
                            attempts = attempts.max(attempt + 1);
                            ctx.emitter.emit(Event::StepRetry {
                                step: ctx.step.clone(),
                                next_attempt: attempt + 1,
                                delay_ms: millis(step.pause),
                                error: error.to_string(),
                            });
                            None
                        }
                    }
                }
            };
            // Once it has been told, and not before: until then another process
            // would have to find it.
            if let Some(held) = held {
                held.collected().await;
            }
            if let Some(over) = over {
                return over;
            }
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

    async fn attempt(
        &self,
        step: &Step,
        ctx: &StepContext,
        number: u32,
        resume: Option<&RunState>,
    ) -> (Result<(), StepError>, Option<Held>) {
        let mut held = None;
        let slot = &mut held;
        let what = step.action.kind();
        let result = within(step.timeout, what, ctx, |ctx| async move {
            if !self.link.is_connected() {
                self.link
                    .reconnect(RECONNECT, &Watch::none(), &ctx.cancel)
                    .await?;
            }
            let link = &*self.link;
            let run = async |shell: &Shell, luggage: &Luggage| {
                let attempt = Attempt {
                    number,
                    resume,
                    until: Instant::now() + step.timeout,
                    loose: &self.loose,
                };
                crate::shell::run(&self.link, shell, luggage, &ctx, &attempt).await
            };
            match &step.action {
                Action::Shell(shell) => {
                    let (result, held) = run(shell, &Luggage::default()).await;
                    *slot = held;
                    return result;
                }
                Action::Ansible(ansible) if ansible.on_builder => {
                    let (shell, luggage) = crate::ansible::pack(ansible)?;
                    let (result, held) = run(&shell, &luggage).await;
                    *slot = held;
                    return result
                        .map_err(|error| crate::ansible::of_playbook(error, &ansible.playbook));
                }
                _ => {}
            }
            if let Some(runs) = &ctx.runs {
                runs.save(&RunState {
                    id: crate::shell::new_id(&ctx),
                    attempt: number,
                    stdout: 0,
                    stderr: 0,
                });
            }
            match &step.action {
                Action::Shell(_) => Ok(()),
                Action::Upload(upload) => crate::file::upload(link, upload, &ctx).await,
                Action::Download(download) => crate::file::download(link, download, &ctx).await,
                Action::Ansible(_) | Action::Local(_) if resume.is_some() => {
                    Err(StepError::new(StepErrorKind::CutOff {
                        what: what.to_owned(),
                        why: "the forno that ran it is gone".to_owned(),
                    }))
                }
                Action::Ansible(ansible) => crate::ansible::run(link, ansible, &ctx).await,
                Action::Local(local) => crate::local::run(local, &ctx).await,
                Action::Reboot => crate::reboot::run(link, step.timeout, &ctx).await,
                Action::Assert(assertion) => crate::assertion::run(link, assertion, &ctx).await,
            }
        })
        .await;
        (result, held)
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

/// After the last attempt.
async fn decide(step: &Step, error: &StepError, ctx: &StepContext) -> Decision {
    match step.on_failure {
        OnFailure::Fail => Decision::Fail,
        OnFailure::Continue => Decision::Continue,
        OnFailure::Ask => match &ctx.decide {
            Some(decide) => decide.decide(&step.name, error).await,
            None => Decision::Fail,
        },
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
            hint: error.hint,
            tail: error.tail,
        }),
        Err(error) => Err(error),
    }
}
