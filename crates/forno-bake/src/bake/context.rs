//! What every phase of a bake has at hand.

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forno_aws::{Gateway, Heartbeat, Wait, WaitError};
use forno_events::{Emitter, Event, Outcome, Resource, Severity, StepId, Stream};
use forno_guest::StepContext;
use forno_saga::{Body, EffectId, Intent, Ladder, RunError, Saga};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::connect::Connected;
use super::systems::Cloud;
use crate::error::CallError;
use crate::journal::{Journal, millis};
use crate::manifest::PhaseTime;
use crate::plan::Prepared;
use crate::{About, Answer, Error, ErrorKind, ExitCode, Question, Settings};

pub(crate) struct Context {
    pub(crate) gateway: Gateway,
    pub(crate) cloud: Cloud,
    pub(crate) settings: Settings,
    pub(crate) prepared: Prepared,
    pub(crate) journal: Journal,
    pub(crate) emitter: Emitter,
    pub(crate) saga: Saga,
    pub(crate) ladder: Ladder,
    /// Ends all waiting and working of this bake.
    pub(crate) cancel: CancellationToken,
    pub(crate) folder: PathBuf,
    pub(crate) phases: Mutex<Vec<PhaseTime>>,
    /// Steps that an earlier process told to have ended well on the last builder.
    pub(crate) told: Vec<StepId>,
    /// The machine that can be looked into now.
    pub(crate) machine: Mutex<Option<Arc<Connected>>>,
    /// What a person answered when asked about a failure.
    pub(crate) keep: Mutex<Option<bool>>,
    /// How many machines went away by EC2's own doing.
    pub(crate) lost: AtomicUsize,
}

impl Context {
    /// One step of ours: told when it begins and how it ends. Steps of the
    /// recipe are told by the guest.
    pub(crate) fn step<'a, T: Send + 'a>(
        &'a self,
        step: &'a StepId,
        work: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(self.told(step, work))
    }

    async fn told<T>(
        &self,
        step: &StepId,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.emitter.emit(Event::StepStarted {
            step: step.clone(),
            attempt: 1,
        });
        let started = Instant::now();
        let result = work.await;
        let (outcome, message) = match &result {
            Ok(_) => (Outcome::Ok, None),
            Err(error) if error.exit_code() == ExitCode::Interrupted => (Outcome::Cancelled, None),
            Err(error) => (
                Outcome::Failed,
                Some(forno_aws::without_denial_code(&error.full())),
            ),
        };
        self.emitter.emit(Event::StepFinished {
            step: step.clone(),
            outcome,
            attempt: 1,
            elapsed_ms: millis(started.elapsed()),
            message,
        });
        result
    }

    /// Keeps the time of a phase.
    pub(crate) fn phase<'a, T: Send + 'a>(
        &'a self,
        name: &'a str,
        work: impl Future<Output = T> + Send + 'a,
    ) -> BoxFuture<'a, T> {
        Box::pin(async move {
            let started = Instant::now();
            let result = work.await;
            PhaseTime::add(&mut lock(&self.phases), name, millis(started.elapsed()));
            result
        })
    }

    /// An effect, written ahead.
    pub(crate) fn effect<T>(
        &self,
        intent: Intent,
        apply: impl Future<Output = Result<T, forno_aws::Error>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, RunError<CallError>>>
    where
        T: Serialize + Send + 'static,
    {
        let apply = async move { apply.await.map_err(CallError) };
        Box::pin(self.saga.run(intent, &self.cancel, apply))
    }

    /// An effect that another process has begun and was never answered about.
    pub(crate) fn take_up<T>(
        &self,
        effect: &EffectId,
        apply: impl Future<Output = Result<T, forno_aws::Error>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, RunError<CallError>>>
    where
        T: Serialize + Send + 'static,
    {
        let apply = async move { apply.await.map_err(CallError) };
        Box::pin(self.saga.take_up(effect.clone(), &self.cancel, apply))
    }

    /// Whether this step need not be done again on this machine.
    pub(crate) fn has_passed(&self, step: &StepId, on: &EffectId) -> bool {
        self.saga.ledger().fold().has_passed(step.as_str(), on)
    }

    /// It need not be done again, whatever becomes of this process.
    pub(crate) async fn pass(&self, step: &StepId, on: &EffectId) -> Result<(), Error> {
        let passed = Body::Passed {
            step: step.to_string(),
            on: on.clone(),
        };
        Ok(self.saga.ledger().record(passed).await?)
    }

    /// How much of its time the bake has left, by the clock: its machines go by it.
    pub(crate) fn time_left(&self) -> Duration {
        let used = Timestamp::now().duration_since(self.prepared.started);
        let used = Duration::try_from(used).unwrap_or_default();
        let total = self.prepared.recipe.builder.timeouts.total.get();
        total.saturating_sub(used)
    }

    /// A wait that makes itself heard under `step`.
    pub(crate) fn wait<'a>(&'a self, step: &'a StepId, what: &str, limit: Duration) -> Wait<'a> {
        Wait::new(what, limit)
            .every(self.settings.poll)
            .beat(self.settings.heartbeat)
            .cancelled_by(self.cancel.clone())
            .on_heartbeat(move |beat| self.emitter.emit(heard(step, beat)))
    }

    pub(crate) fn guest(&self, step: &StepId) -> StepContext {
        let mut context = StepContext::new(step.clone(), self.emitter.clone(), self.cancel.clone());
        context.heartbeat = self.settings.heartbeat;
        context.public = self.prepared.recipe.secrets().next().is_none();
        if let Some(path) = &self.settings.tools.ansible_playbook {
            context.ansible_playbook.clone_from(path);
        }
        if let Some(path) = &self.settings.tools.ansible_galaxy {
            context.ansible_galaxy.clone_from(path);
        }
        context.cache.clone_from(&self.settings.cache);
        let prepared = &self.prepared;
        for (name, value) in [
            ("FORNO_BAKE", prepared.bake.as_str()),
            ("FORNO_IMAGE", prepared.recipe.name.as_str()),
            ("FORNO_AMI_NAME", prepared.ami_name.as_str()),
            ("FORNO_REGION", prepared.region.as_str()),
            ("FORNO_SOURCE_AMI", prepared.source.id.as_str()),
            (
                "FORNO_SOURCE_AMI_NAME",
                prepared.source.name.as_deref().unwrap_or(""),
            ),
        ] {
            context.env.insert(name.to_owned(), value.into());
        }
        if let Some(machine) = self.machine() {
            let id = machine.machine.id.as_str();
            context
                .env
                .insert("FORNO_INSTANCE_ID".to_owned(), id.into());
        }
        context
    }

    pub(crate) fn created(&self, kind: &str, id: &str) {
        self.emitter.emit(Event::ResourceCreated(Resource {
            kind: kind.to_owned(),
            id: id.to_owned(),
            region: self.prepared.region.clone(),
        }));
    }

    pub(crate) fn note(&self, severity: Severity, message: impl Into<String>) {
        self.emitter.emit(Event::Note {
            severity,
            message: message.into(),
            hint: None,
        });
    }

    pub(crate) fn machine(&self) -> Option<Arc<Connected>> {
        lock(&self.machine).clone()
    }

    pub(crate) fn set_machine(&self, machine: Option<Arc<Connected>>) {
        *lock(&self.machine) = machine;
    }

    pub(crate) fn answered_keep(&self, keep: bool) {
        *lock(&self.keep) = Some(keep);
    }

    pub(crate) fn phase_times(&self) -> Vec<PhaseTime> {
        lock(&self.phases).clone()
    }

    pub(crate) fn close_steps(&self, outcome: Outcome) {
        self.journal.close_steps(outcome);
    }

    /// Whether the machine of a failure shall be left for a look: asked once.
    pub(crate) async fn ask_to_keep(&self, error: &Error) -> bool {
        if let Some(answered) = *lock(&self.keep) {
            return answered;
        }
        let Some(ask) = &self.settings.ask else {
            return false;
        };
        let question = Question {
            bake: self.prepared.bake.clone(),
            step: String::new(),
            about: About::Failure(self.journal.mask(&error.full())),
            answers: vec![Answer::Keep, Answer::TearDown],
        };
        tokio::select! {
            answer = ask.ask(question) => answer == Answer::Keep,
            () = self.cancel.cancelled() => false,
        }
    }

    /// The end of a machine's console, shown under the step that failed.
    pub(crate) async fn show_console(&self, step: &StepId, id: &forno_aws::InstanceId) {
        const LINES: usize = 30;
        let asked = tokio::time::timeout(Duration::from_secs(5), self.gateway.console_output(id));
        let Ok(Ok(Some(text))) = asked.await else {
            return;
        };
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
            self.emitter.emit(Event::Output {
                step: step.clone(),
                stream: Stream::Console,
                line: line.trim_end().to_owned(),
            });
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn heard(step: &StepId, beat: Heartbeat) -> Event {
    Event::Waiting {
        step: step.clone(),
        what: beat.what,
        resource: beat.resource,
        state: beat.state,
        waited_ms: millis(beat.waited),
        deadline_ms: millis(beat.deadline),
    }
}

/// What an ended wait means for the bake.
pub(crate) fn of_wait(error: &WaitError, failed: impl FnOnce(String) -> ErrorKind) -> Error {
    if error.is_cancelled() {
        return Error::cancelled(error.to_string());
    }
    let hint = error.hint();
    let error = Error::new(failed(error.to_string()));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
