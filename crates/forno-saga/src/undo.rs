//! Effects backward: by looking, not by remembering.
//!
//! Every effect that may exist is looked for, asked to go, and looked for
//! again until it is gone. All of them are worked on at the same time, begun
//! from the youngest, so that one that hangs or is stuck delays no other.
//! Doing it twice does no harm: it is the same whether this process undoes its
//! own bake, another takes up a dead one, or two do at once.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::{Body, Deadline, Effect, EffectId, Error, Failure, Ladder, Rung, Saga};

/// How effects are looked for and removed; given by the caller, who knows the
/// kinds.
#[async_trait]
pub trait Undo: Send + Sync {
    /// Looks for the effect by everything known of it and asks for its
    /// removal. Must be safe to repeat.
    async fn attempt(&self, effect: &Effect) -> Attempt;

    /// The command with which a person removes or at least finds it.
    fn command(&self, effect: &Effect) -> String;
}

/// What one attempt found.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// It was there and is not any more.
    Gone,
    /// Found nothing in any way. Believed only when it stays so, since a
    /// creation may become visible late.
    Absent,
    /// Asked to go, and on its way.
    Going { state: String },
    /// Did not work this time.
    Failed(Failure),
    /// Will not work however often it is tried.
    Refused(Failure),
}

#[derive(Clone, Copy, Debug)]
pub struct UndoPolicy {
    /// How long to try before a resource counts as stuck.
    pub limit: Duration,
    /// Between two attempts.
    pub interval: Duration,
    /// For one attempt.
    pub attempt_limit: Duration,
    /// How long nothing must be found before it is believed.
    pub settle: Duration,
}

impl Default for UndoPolicy {
    fn default() -> Self {
        Self {
            // A network interface can outlive its instance by minutes, and
            // with it the security group.
            limit: Duration::from_mins(10),
            interval: Duration::from_secs(2),
            attempt_limit: Duration::from_mins(1),
            settle: Duration::from_secs(10),
        }
    }
}

/// Told while undoing.
#[derive(Clone, Debug)]
pub enum UndoEvent<'a> {
    Started(&'a Effect),
    Waiting {
        effect: &'a Effect,
        state: &'a str,
        waited: Duration,
        limit: Duration,
    },
    Released(&'a Effect),
    Stuck(&'a Unreleased),
}

/// What is left, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreleased {
    pub effect: Effect,
    pub failure: Failure,
    pub command: String,
}

#[derive(Debug, Default)]
pub struct UndoReport {
    pub released: Vec<Effect>,
    pub unreleased: Vec<Unreleased>,
    /// The ledger could not be written; the world was changed all the same.
    pub ledger_errors: Vec<Error>,
}

impl UndoReport {
    pub fn is_clean(&self) -> bool {
        self.unreleased.is_empty()
    }
}

/// A saga being undone; see [`Saga::undoing`].
pub struct Undoing<'a> {
    saga: &'a Saga,
    undo: &'a dyn Undo,
    policy: UndoPolicy,
    ladder: &'a Ladder,
    observe: &'a (dyn Fn(UndoEvent<'_>) + Send + Sync),
}

impl fmt::Debug for Undoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undoing")
            .field("saga", &self.saga)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Saga {
    /// Ready to undo. The ladder's second rung ends all waiting after one
    /// attempt each, its third ends everything.
    pub fn undoing<'a>(
        &'a self,
        undo: &'a dyn Undo,
        policy: UndoPolicy,
        ladder: &'a Ladder,
        observe: &'a (dyn Fn(UndoEvent<'_>) + Send + Sync),
    ) -> Undoing<'a> {
        Undoing {
            saga: self,
            undo,
            policy,
            ladder,
            observe,
        }
    }
}

/// How far one effect got.
enum Release {
    Released(Effect),
    Left(Unreleased),
}

/// A cautious start: the next older effect is begun when the first attempt on
/// this one is over, but after this long in any case.
const HEAD_START: Duration = Duration::from_millis(500);

/// How long a removal may take to be sent and answered once in a hurry.
const HURRIED_ATTEMPT: Duration = Duration::from_secs(5);

impl Undoing<'_> {
    /// Everything that may exist and is not kept.
    pub async fn all(&self) -> UndoReport {
        let ids = self
            .saga
            .ledger()
            .fold()
            .unreleased()
            .map(|effect| effect.id.clone())
            .collect();
        self.only(ids).await
    }

    /// These, in this order, where they are unreleased.
    pub async fn only(&self, ids: Vec<EffectId>) -> UndoReport {
        let mut report = UndoReport::default();
        let (log, mut logged) = tokio::sync::mpsc::unbounded_channel();
        let mut running = FuturesUnordered::new();
        let take = |release, report: &mut UndoReport| match release {
            Release::Released(effect) => report.released.push(effect),
            Release::Left(left) => report.unreleased.push(left),
        };
        let fold = self.saga.ledger().fold();
        for id in ids {
            if !fold.effect(&id).is_some_and(Effect::is_unreleased) {
                continue;
            }
            let (begun, has_begun) = tokio::sync::oneshot::channel();
            running.push(self.release(id, begun, log.clone()));
            let head_start = tokio::time::timeout(HEAD_START, has_begun);
            tokio::pin!(head_start);
            loop {
                tokio::select! {
                    biased;
                    Some(release) = running.next() => take(release, &mut report),
                    _ = &mut head_start => break,
                    () = self.ladder.reached(Rung::Hurry) => break,
                }
            }
        }
        while let Some(release) = running.next().await {
            take(release, &mut report);
        }
        drop(running);
        drop(log);
        while let Some(error) = logged.recv().await {
            report.ledger_errors.push(error);
        }
        report
    }

    /// Asks an effect to go and does not wait for it: [`Undoing::all`] later
    /// sees it through. Says what was found.
    pub async fn begin(&self, id: &EffectId) -> Result<Attempt, Error> {
        let fold = self.saga.ledger().fold();
        let effect = fold
            .effect(id)
            .ok_or_else(|| Error::NoSuchEffect(id.clone()))?;
        if !effect.is_unreleased() {
            return Ok(Attempt::Gone);
        }
        (self.observe)(UndoEvent::Started(effect));
        let ledger = self.saga.ledger();
        ledger
            .record(Body::UndoStarted { effect: id.clone() })
            .await?;
        let attempt = self.attempt(effect).await;
        if attempt == Attempt::Gone {
            ledger.record(Body::Undone { effect: id.clone() }).await?;
            (self.observe)(UndoEvent::Released(effect));
        }
        Ok(attempt)
    }

    async fn release(
        &self,
        id: EffectId,
        begun: tokio::sync::oneshot::Sender<()>,
        log: tokio::sync::mpsc::UnboundedSender<Error>,
    ) -> Release {
        // Undoing goes on where the ledger cannot: a full disk must not keep
        // an instance running.
        let record = async |body| {
            if let Err(error) = self.saga.ledger().record(body).await {
                let _ = log.send(error);
            }
        };
        let mut begun = Some(begun);
        // What is not there yet cannot be asked to go: the next one must not wait.
        if self.saga.is_in_flight(&id) {
            drop(begun.take());
        }
        tokio::select! {
            () = self.saga.landed(&id) => {}
            () = self.ladder.reached(Rung::Hurry) => {}
            () = tokio::time::sleep(self.policy.limit) => {}
        }
        let mut effect = self.current(&id);
        if !effect.is_unreleased() {
            return Release::Released(effect);
        }
        record(Body::UndoStarted { effect: id.clone() }).await;
        (self.observe)(UndoEvent::Started(&effect));

        let deadline = Deadline::after(self.policy.limit);
        let mut absent: Option<Deadline> = None;
        let failure = loop {
            if self.ladder.rung() >= Rung::GiveUp {
                break given_up();
            }
            let attempt = tokio::select! {
                biased;
                () = self.ladder.reached(Rung::GiveUp) => break given_up(),
                attempt = self.attempt(&effect) => attempt,
            };
            drop(begun.take());
            let state = match attempt {
                Attempt::Gone => {
                    return self
                        .released(effect, record(Body::Undone { effect: id }))
                        .await;
                }
                Attempt::Absent => {
                    let since = *absent.get_or_insert_with(|| Deadline::after(self.policy.settle));
                    if since.passed() {
                        return self
                            .released(effect, record(Body::Undone { effect: id }))
                            .await;
                    }
                    "not found; making sure".to_owned()
                }
                Attempt::Refused(failure) => break failure,
                Attempt::Going { state } => {
                    absent = None;
                    state
                }
                Attempt::Failed(failure) => {
                    absent = None;
                    if deadline.passed() {
                        break failure;
                    }
                    failure.to_string()
                }
            };
            if deadline.passed() {
                break Failure::new(
                    "deadline",
                    format!("not gone after {:?}: {state}", deadline.limit()),
                );
            }
            if self.ladder.rung() >= Rung::Hurry {
                break not_awaited(&state);
            }
            (self.observe)(UndoEvent::Waiting {
                effect: &effect,
                state: &state,
                waited: deadline.waited(),
                limit: deadline.limit(),
            });
            let pause = absent.map_or(self.policy.interval, |settled| {
                self.policy.interval.min(settled.remaining())
            });
            tokio::select! {
                () = deadline.pause(pause) => {}
                () = self.ladder.reached(Rung::Hurry) => {}
            }
            effect = self.current(&id);
        };

        let left = Unreleased {
            command: self.undo.command(&effect),
            effect,
            failure,
        };
        if self.ladder.rung() < Rung::GiveUp {
            record(Body::Stuck {
                effect: id,
                failure: left.failure.clone(),
                command: left.command.clone(),
            })
            .await;
        }
        (self.observe)(UndoEvent::Stuck(&left));
        Release::Left(left)
    }

    async fn released(&self, effect: Effect, recorded: impl Future<Output = ()>) -> Release {
        recorded.await;
        (self.observe)(UndoEvent::Released(&effect));
        Release::Released(effect)
    }

    async fn attempt(&self, effect: &Effect) -> Attempt {
        let out_of_time = async {
            tokio::select! {
                () = tokio::time::sleep(self.policy.attempt_limit) => {}
                () = async {
                    self.ladder.reached(Rung::Hurry).await;
                    tokio::time::sleep(HURRIED_ATTEMPT).await;
                } => {}
            }
        };
        tokio::select! {
            attempt = self.undo.attempt(effect) => attempt,
            () = out_of_time => Attempt::Failed(Failure::new("timeout", "no answer in time")),
        }
    }

    /// As known by now: a late answer may have brought the ids.
    fn current(&self, id: &EffectId) -> Effect {
        self.saga
            .ledger()
            .fold()
            .effect(id)
            .cloned()
            .expect("an effect never leaves the fold")
    }
}

fn given_up() -> Failure {
    Failure::new("given-up", "left as it is on demand")
}

fn not_awaited(state: &str) -> Failure {
    Failure::new(
        "not-awaited",
        format!("asked to go, but its end was not awaited on demand: {state}"),
    )
}
