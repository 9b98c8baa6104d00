//! How a bake survives its own death.
//!
//! A *saga* is a line of effects on a world that outlives the process. Each
//! effect is written ahead: its intent is on disk before the world is touched,
//! and what came of it afterwards. From that *ledger* alone another process
//! can tell what may still exist, look for it and take it away.
//!
//! This crate knows no cloud. An effect is a kind, an intent and a result, the
//! latter two as JSON; how to look for it and how to remove it is the
//! caller's [`Undo`]. The line is deliberately not a graph: fan-out belongs
//! inside one effect, where its order cannot be got wrong by the engine.
//!
//! The pieces: [`Ledger`] (records on disk), [`Fold`] (what they mean),
//! [`Saga`] (effects forward and back), [`Ladder`] (how urgently to stop).

mod deadline;
mod error;
mod failure;
mod fold;
mod ladder;
mod ledger;
mod lock;
mod read;
mod record;
mod saga;
mod undo;

pub use deadline::Deadline;
pub use error::{Corruption, Error};
pub use failure::Failure;
pub use fold::{Effect, Fold, Illegal, Phase};
pub use ladder::{Ladder, Rung};
pub use ledger::Ledger;
pub use lock::{BakeLock, is_alive};
#[doc(hidden)]
pub use read::parse;
pub use read::{History, read};
pub use record::{Body, Closing, EffectId, Record};
pub use saga::{EffectError, Happened, Intent, RunError, Saga};
pub use undo::{Attempt, Undo, UndoEvent, UndoPolicy, UndoReport, Undoing, Unreleased};
