//! What Systems Manager remembers for as long as the endpoint runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::commands::Commands;
use crate::channel::Sessions;

/// Nothing of it is on disk: machines end with their endpoint.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) sessions: Sessions,
    commands: Mutex<Commands>,
}

impl Memory {
    pub(super) fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
