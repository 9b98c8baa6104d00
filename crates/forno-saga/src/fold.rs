//! What the records mean.
//!
//! The state of every effect follows from the records by one explicit table.
//! A pair that is not in the table cannot have been written by this engine:
//! when reading it is corruption, when writing it is refused before it
//! reaches the disk.

use forno_events::BakeId;
use serde_json::Value;

use crate::record::VERSION;
use crate::{Body, Closing, EffectId, Failure, Record};

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// About to happen, happening, or cut off: it may exist.
    Intended,
    Done,
    /// For certain nothing exists.
    Failed,
    /// Nobody knows.
    Unknown,
    /// An undo began and has not been seen through.
    Undoing,
    Undone,
    Stuck,
    /// Part of the product.
    Kept,
}

/// One effect as the ledger knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub id: EffectId,
    pub kind: String,
    pub intent: Value,
    pub phase: Phase,
    /// The result, where one was recorded.
    pub done: Option<Value>,
    pub failure: Option<Failure>,
    /// The command that removes it by hand; known once it is stuck.
    pub command: Option<String>,
}

impl Effect {
    /// Something of it may exist that must go.
    pub fn is_unreleased(&self) -> bool {
        match self.phase {
            Phase::Intended | Phase::Done | Phase::Unknown | Phase::Undoing | Phase::Stuck => true,
            Phase::Failed | Phase::Undone | Phase::Kept => false,
        }
    }
}

/// A ledger, read: the fold of its records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fold {
    bake: Option<BakeId>,
    version: u16,
    place: Value,
    effects: Vec<Effect>,
    passed: Vec<(String, EffectId)>,
    past_return: bool,
    closing: Option<Closing>,
    next_seq: u64,
}

/// A record that may not follow the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    #[error("sequence number {found} where {expected} was due")]
    Sequence { expected: u64, found: u64 },
    #[error("the first record does not open a ledger")]
    NotOpened,
    #[error("opened twice")]
    OpenedTwice,
    #[error("format {0} is not known to this version of forno")]
    Version(u16),
    #[error("effect `{0}` has two intents")]
    IntendedTwice(EffectId),
    #[error("effect `{0}` without an intent")]
    NoIntent(EffectId),
    #[error("effect `{effect}` cannot become {to} from {from:?}")]
    Transition {
        effect: EffectId,
        from: Phase,
        to: &'static str,
    },
    #[error("a new effect `{0}` after the end of the bake")]
    Closed(EffectId),
    #[error("step `{step}` cannot have passed on `{on}`: {why}")]
    Passed {
        step: String,
        on: EffectId,
        why: &'static str,
    },
}

/// What a record says about an effect that has an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Done,
    Failed,
    Unknown,
    UndoStarted,
    Undone,
    Stuck,
    Kept,
}

impl News {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::UndoStarted => "undoing",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
            Self::Kept => "kept",
        }
    }
}

/// The transition table. `has_result` matters only for a reply that arrives
/// after an undo began: it may add the ids once, and calls back to life what
/// was believed never to have been.
#[expect(
    clippy::match_same_arms,
    reason = "a table reads best with a line per case"
)]
fn next(from: Phase, news: News, has_result: bool) -> Option<Phase> {
    Some(match (from, news) {
        (Phase::Intended, News::Done) => Phase::Done,
        (Phase::Intended, News::Failed) => Phase::Failed,
        (Phase::Intended, News::Unknown) => Phase::Unknown,
        // Adopted after looking.
        (Phase::Unknown, News::Done) => Phase::Done,
        (Phase::Unknown, News::Failed) => Phase::Failed,

        (
            Phase::Intended | Phase::Done | Phase::Unknown | Phase::Undoing | Phase::Stuck,
            News::UndoStarted,
        ) => Phase::Undoing,
        (Phase::Undoing, News::Undone) => Phase::Undone,
        (Phase::Undoing, News::Stuck) => Phase::Stuck,

        // The late reply.
        (Phase::Undoing, News::Done) if !has_result => Phase::Undoing,
        (Phase::Undoing, News::Failed | News::Unknown) if !has_result => Phase::Undoing,
        (Phase::Stuck | Phase::Undone, News::Done) if !has_result => Phase::Done,
        (Phase::Stuck, News::Failed | News::Unknown) if !has_result => Phase::Stuck,
        (Phase::Undone, News::Failed | News::Unknown) if !has_result => Phase::Undone,

        (Phase::Done, News::Kept) => Phase::Kept,
        _ => return None,
    })
}

impl Fold {
    /// Takes in the next record, or refuses it and stays as it is.
    pub fn apply(&mut self, record: &Record) -> Result<(), Illegal> {
        if record.seq != self.next_seq {
            return Err(Illegal::Sequence {
                expected: self.next_seq,
                found: record.seq,
            });
        }
        self.take(&record.body)?;
        self.next_seq += 1;
        Ok(())
    }

    fn take(&mut self, body: &Body) -> Result<(), Illegal> {
        if let Body::Opened {
            version,
            bake,
            place,
        } = body
        {
            if self.bake.is_some() {
                return Err(Illegal::OpenedTwice);
            }
            if !(1..=VERSION).contains(version) {
                return Err(Illegal::Version(*version));
            }
            self.version = *version;
            self.bake = Some(bake.clone());
            self.place = place.clone();
            return Ok(());
        }
        if self.bake.is_none() {
            return Err(Illegal::NotOpened);
        }
        match body {
            Body::Opened { .. } => Ok(()),
            Body::Intent {
                effect,
                kind,
                intent,
            } => self.intend(effect, kind, intent),
            Body::Done { effect, done } => {
                self.turn(effect, News::Done)?.done = Some(done.clone());
                Ok(())
            }
            Body::Failed { effect, failure } => {
                self.turn(effect, News::Failed)?.failure = Some(failure.clone());
                Ok(())
            }
            Body::Unknown { effect, failure } => {
                self.turn(effect, News::Unknown)?.failure = Some(failure.clone());
                Ok(())
            }
            Body::UndoStarted { effect } => self.turn(effect, News::UndoStarted).map(|_| ()),
            Body::Undone { effect } => self.turn(effect, News::Undone).map(|_| ()),
            Body::Stuck {
                effect,
                failure,
                command,
            } => {
                let effect = self.turn(effect, News::Stuck)?;
                effect.failure = Some(failure.clone());
                effect.command = Some(command.clone());
                Ok(())
            }
            Body::Kept { effects } => {
                for effect in effects {
                    self.check(effect, News::Kept)?;
                }
                for effect in effects {
                    self.turn(effect, News::Kept)?;
                }
                self.past_return = true;
                Ok(())
            }
            Body::Passed { step, on } => self.pass(step, on),
            Body::Closed { closing } => {
                self.closing = Some(*closing);
                Ok(())
            }
        }
    }

    fn pass(&mut self, step: &str, on: &EffectId) -> Result<(), Illegal> {
        let phase = self.effect(on).map(|effect| effect.phase);
        let why = if self.version < 2 {
            "this ledger is of a format without such records"
        } else if self.closing.is_some() {
            "the bake is over"
        } else if phase != Some(Phase::Done) {
            "nothing is there that it could have been done on"
        } else if self.has_passed(step, on) {
            "it has passed before"
        } else {
            self.passed.push((step.to_owned(), on.clone()));
            return Ok(());
        };
        Err(Illegal::Passed {
            step: step.to_owned(),
            on: on.clone(),
            why,
        })
    }

    fn intend(&mut self, id: &EffectId, kind: &str, intent: &Value) -> Result<(), Illegal> {
        if self.closing.is_some() {
            return Err(Illegal::Closed(id.clone()));
        }
        if self.effect(id).is_some() {
            return Err(Illegal::IntendedTwice(id.clone()));
        }
        self.effects.push(Effect {
            id: id.clone(),
            kind: kind.to_owned(),
            intent: intent.clone(),
            phase: Phase::Intended,
            done: None,
            failure: None,
            command: None,
        });
        Ok(())
    }

    fn check(&self, id: &EffectId, news: News) -> Result<Phase, Illegal> {
        let effect = self
            .effect(id)
            .ok_or_else(|| Illegal::NoIntent(id.clone()))?;
        next(effect.phase, news, effect.done.is_some()).ok_or_else(|| Illegal::Transition {
            effect: id.clone(),
            from: effect.phase,
            to: news.name(),
        })
    }

    fn turn(&mut self, id: &EffectId, news: News) -> Result<&mut Effect, Illegal> {
        let phase = self.check(id, news)?;
        let effect = self
            .effects
            .iter_mut()
            .find(|effect| effect.id == *id)
            .ok_or_else(|| Illegal::NoIntent(id.clone()))?;
        effect.phase = phase;
        Ok(effect)
    }

    /// Whose ledger it is; none before its first record.
    pub fn bake(&self) -> Option<&BakeId> {
        self.bake.as_ref()
    }

    pub fn place(&self) -> &Value {
        &self.place
    }

    /// In the order of their intents.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    pub fn effect(&self, id: &EffectId) -> Option<&Effect> {
        self.effects.iter().find(|effect| effect.id == *id)
    }

    /// Whether a step is done and need not be done again on this effect.
    pub fn has_passed(&self, step: &str, on: &EffectId) -> bool {
        self.passed
            .iter()
            .any(|(passed, of)| passed == step && of == on)
    }

    /// What may exist and must go, the youngest first: the order of undoing.
    pub fn unreleased(&self) -> impl Iterator<Item = &Effect> {
        self.effects.iter().rev().filter(|e| e.is_unreleased())
    }

    /// The product exists: see [`Body::Kept`].
    pub fn is_past_return(&self) -> bool {
        self.past_return
    }

    /// How the bake ended, if it did.
    pub fn closing(&self) -> Option<Closing> {
        self.closing
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 8] = [
        Phase::Intended,
        Phase::Done,
        Phase::Failed,
        Phase::Unknown,
        Phase::Undoing,
        Phase::Undone,
        Phase::Stuck,
        Phase::Kept,
    ];
    const NEWS: [News; 7] = [
        News::Done,
        News::Failed,
        News::Unknown,
        News::UndoStarted,
        News::Undone,
        News::Stuck,
        News::Kept,
    ];

    #[test]
    fn the_table() {
        let mut table = String::new();
        for has_result in [false, true] {
            for phase in PHASES {
                for news in NEWS {
                    if let Some(to) = next(phase, news, has_result) {
                        let known = if has_result { "result" } else { "no result" };
                        table += &format!("{known}: {phase:?} + {} -> {to:?}\n", news.name());
                    }
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn nothing_leaves_what_is_kept_or_failed_for_certain() {
        for news in NEWS {
            for has_result in [false, true] {
                assert_eq!(next(Phase::Kept, news, has_result), None);
                assert_eq!(next(Phase::Failed, news, has_result), None);
            }
        }
    }

    #[test]
    fn only_an_undo_seen_through_releases_what_may_exist() {
        let unreleased = |phase| {
            matches!(
                phase,
                Phase::Intended | Phase::Done | Phase::Unknown | Phase::Undoing | Phase::Stuck
            )
        };
        for phase in PHASES.into_iter().filter(|p| unreleased(*p)) {
            for news in NEWS {
                let Some(to) = next(phase, news, false) else {
                    continue;
                };
                let may = matches!(
                    (phase, news),
                    (Phase::Undoing, News::Undone)
                        | (Phase::Intended | Phase::Unknown, News::Failed)
                        | (Phase::Done, News::Kept)
                );
                assert_eq!(!unreleased(to), may, "{phase:?} + {}", news.name());
            }
        }
    }
}
