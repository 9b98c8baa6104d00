//! What Systems Manager remembers for as long as the endpoint runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::commands::Commands;

/// Nothing of it is on disk: machines end with their endpoint.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    commands: Mutex<Commands>,
}

impl Memory {
    pub(super) fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
