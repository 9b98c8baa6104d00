//! What can go wrong with a ledger.

use std::io;
use std::path::PathBuf;

use crate::{EffectId, Fold, Illegal};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// Another process holds the bake.
    #[error("the bake in `{0}` is alive: another forno works on it")]
    Alive(PathBuf),
    /// A record that the fold refuses; nothing was written.
    #[error("the ledger refuses a record: {0}")]
    Illegal(#[from] Illegal),
    #[error("no effect `{0}` in this ledger")]
    NoSuchEffect(EffectId),
    /// An earlier write failed half way and could not be taken back.
    #[error("the ledger in `{0}` takes no more records: an earlier write failed half way")]
    Poisoned(PathBuf),
}

impl Error {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// A ledger that cannot be trusted: what it says may be incomplete, so the
/// resources of its bake must be looked for by their tags.
#[derive(Debug, thiserror::Error)]
#[error("the ledger `{}` is corrupt at line {line}: {reason}", path.display())]
pub struct Corruption {
    pub path: PathBuf,
    /// Counts from 1.
    pub line: usize,
    pub reason: String,
    /// What the lines before it say. Its effects exist, but it may lack some.
    pub before: Fold,
}
