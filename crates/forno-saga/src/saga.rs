//! Effects forward: intent on disk, then the call, then what came of it.
//!
//! A creating call runs as a task of its own. Cancelling stops the waiting for
//! it, never the call: a request that is already on its way is better answered
//! than guessed about, and its answer is recorded whenever it comes. The undo
//! of that effect then waits for the answer while all others go ahead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{Body, Closing, EffectId, Error, Failure, Ledger, Phase};

/// Whether an effect that returned an error may have happened all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    No,
    /// A time-out or a reset after sending: undone like a success.
    Unknown,
}

/// What an effect's error must be able to tell.
pub trait EffectError {
    fn happened(&self) -> Happened;
    fn failure(&self) -> Failure;
}

/// What is about to happen; must be enough to find it again without its id,
/// and must hold no secret.
#[derive(Clone, Debug)]
pub struct Intent {
    pub effect: EffectId,
    pub kind: String,
    pub intent: Value,
}

/// Why an effect gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// Without its record no effect is begun, and without one none counts.
    #[error(transparent)]
    Ledger(#[from] Error),
    #[error(transparent)]
    Failed(E),
    #[error("cancelled")]
    Cancelled,
    /// The task of the effect ended without an answer.
    #[error("effect `{0}` broke off")]
    BrokeOff(EffectId),
}

/// One bake's line of effects. Clones share it.
#[derive(Clone, Debug)]
pub struct Saga {
    ledger: Ledger,
    in_flight: Arc<Mutex<HashMap<EffectId, watch::Receiver<()>>>>,
}

impl Saga {
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            in_flight: Arc::default(),
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes the intent, runs `apply`, writes what came of it. The result is
    /// recorded as JSON and handed back.
    ///
    /// When this returns `Cancelled`, `apply` may still be running.
    pub async fn run<T, E, F>(
        &self,
        intent: Intent,
        cancel: &CancellationToken,
        apply: F,
    ) -> Result<T, RunError<E>>
    where
        T: Serialize + Send + 'static,
        E: EffectError + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        let effect = intent.effect.clone();
        self.ledger
            .record(Body::Intent {
                effect: intent.effect,
                kind: intent.kind,
                intent: intent.intent,
            })
            .await?;
        self.perform(effect, cancel, apply).await
    }

    /// Does an effect whose intent stands in the ledger and whose answer never
    /// came, of a process that is gone. `apply` must find out first whether it
    /// has happened, or be a call that is good for one effect however often it
    /// is made.
    pub async fn take_up<T, E, F>(
        &self,
        effect: EffectId,
        cancel: &CancellationToken,
        apply: F,
    ) -> Result<T, RunError<E>>
    where
        T: Serialize + Send + 'static,
        E: EffectError + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        match self.ledger.fold().effect(&effect).map(|known| known.phase) {
            Some(Phase::Intended | Phase::Unknown) => self.perform(effect, cancel, apply).await,
            _ => Err(RunError::Ledger(Error::NoSuchEffect(effect))),
        }
    }

    async fn perform<T, E, F>(
        &self,
        effect: EffectId,
        cancel: &CancellationToken,
        apply: F,
    ) -> Result<T, RunError<E>>
    where
        T: Serialize + Send + 'static,
        E: EffectError + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (ended, in_flight) = watch::channel(());
        let (answer, answered) = oneshot::channel();
        self.in_flight().insert(effect.clone(), in_flight);
        let ledger = self.ledger.clone();
        let id = effect.clone();
        tokio::spawn(async move {
            let outcome = apply.await;
            let unknown_as_before = ledger
                .fold()
                .effect(&id)
                .is_some_and(|effect| effect.phase == Phase::Unknown);
            let recorded = match body_of(id, &outcome) {
                Ok(Body::Unknown { .. }) if unknown_as_before => Ok(()),
                Ok(body) => ledger.record(body).await,
                Err(error) => Err(error),
            };
            // Nobody listens any more after a cancellation.
            let _ = answer.send(recorded.map(|()| outcome));
            drop(ended);
        });

        tokio::select! {
            biased;
            answer = answered => {
                self.in_flight().remove(&effect);
                match answer {
                    Ok(Ok(Ok(value))) => Ok(value),
                    Ok(Ok(Err(error))) => Err(RunError::Failed(error)),
                    Ok(Err(error)) => Err(RunError::Ledger(error)),
                    Err(_) => Err(RunError::BrokeOff(effect)),
                }
            }
            () = cancel.cancelled() => Err(RunError::Cancelled),
        }
    }

    /// The point of no return: these stay, whatever happens from here on.
    pub async fn keep(&self, effects: Vec<EffectId>) -> Result<(), Error> {
        self.ledger.record(Body::Kept { effects }).await
    }

    /// The end of the bake.
    pub async fn close(&self, closing: Closing) -> Result<(), Error> {
        self.ledger.record(Body::Closed { closing }).await
    }

    /// Returns once the call of `effect` has been answered, or was never on
    /// its way.
    pub(crate) async fn landed(&self, effect: &EffectId) {
        let waiting = self.in_flight().get(effect).cloned();
        if let Some(mut waiting) = waiting {
            // An error says that the task dropped its end: that is the end.
            while waiting.changed().await.is_ok() {}
            self.in_flight().remove(effect);
        }
    }

    /// Whether the call of `effect` is on its way.
    pub(crate) fn is_in_flight(&self, effect: &EffectId) -> bool {
        self.in_flight()
            .get(effect)
            .is_some_and(|waiting| waiting.has_changed().is_ok())
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashMap<EffectId, watch::Receiver<()>>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn body_of<T: Serialize, E: EffectError>(
    effect: EffectId,
    outcome: &Result<T, E>,
) -> Result<Body, Error> {
    Ok(match outcome {
        Ok(value) => Body::Done {
            effect,
            done: serde_json::to_value(value)
                .map_err(|error| Error::io("write a result as JSON")(error.into()))?,
        },
        Err(error) => match error.happened() {
            Happened::No => Body::Failed {
                effect,
                failure: error.failure(),
            },
            Happened::Unknown => Body::Unknown {
                effect,
                failure: error.failure(),
            },
        },
    })
}
