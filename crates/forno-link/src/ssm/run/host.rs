//! What is known of the machine, shared by all that runs on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::target::SsmTarget;
use super::text::{PLACE, Text};
use crate::ErrorKind;

/// The agent works on five commands at once; one is left for ending others.
const SLOTS: usize = 4;

/// With more commands than this, none may hold a slot for long.
const PATIENT: usize = 2;

#[derive(Debug)]
pub(super) struct Host {
    pub(super) target: SsmTarget,
    known: Mutex<Known>,
    pub(super) slots: Semaphore,
    active: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    /// Why nothing can be asked any more.
    lost: Option<String>,
    /// The boot that commands are meant for.
    boot: String,
    errands: Errands,
}

/// What the next script does besides, until it is known to have been done.
#[derive(Clone, Debug, Default)]
pub(super) struct Errands {
    /// Ended commands whose folders are to go.
    free: Vec<String>,
    /// The same, of which the start may still come once more.
    bury: Vec<String>,
    /// Scripts of which the agent need not keep a copy any more.
    told: Vec<String>,
}

impl Errands {
    fn is_empty(&self) -> bool {
        self.free.is_empty() && self.bury.is_empty() && self.told.is_empty()
    }

    fn remove(&mut self, done: &Self) {
        self.free.retain(|id| !done.free.contains(id));
        self.bury.retain(|id| !done.bury.contains(id));
        self.told.retain(|id| !done.told.contains(id));
    }
}

impl Host {
    pub(super) fn new(target: SsmTarget) -> Self {
        Self {
            target,
            known: Mutex::default(),
            slots: Semaphore::new(SLOTS),
            active: AtomicUsize::new(0),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when the machine is lost.
    pub(super) fn check(&self) -> Result<(), ErrorKind> {
        match &self.known().lost {
            Some(why) => Err(ErrorKind::Lost(why.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn lose(&self, why: &str) -> ErrorKind {
        self.known().lost = Some(why.to_owned());
        ErrorKind::Lost(why.to_owned())
    }

    pub(super) fn found(&self, boot: &str) {
        let mut known = self.known();
        if known.boot != boot {
            // It lay in memory.
            known.errands.free.clear();
            known.errands.bury.clear();
        }
        boot.clone_into(&mut known.boot);
        known.lost = None;
    }

    pub(super) fn boot(&self) -> String {
        self.known().boot.clone()
    }

    /// A command was seen to its end; `may_come` if its start may come once more.
    pub(super) fn collected(&self, id: String, may_come: bool) {
        let mut known = self.known();
        let list = if may_come {
            &mut known.errands.bury
        } else {
            &mut known.errands.free
        };
        list.push(id);
    }

    /// The beginning of a script, with the errands that there are.
    pub(super) fn text(&self, id: &str) -> Text {
        let errands = self.known().errands.clone();
        let mut text = Text::new(id);
        text.set("user", &self.target.user);
        text.set("booted", &self.boot());
        text.set("free", &errands.free.join(" "));
        text.set("bury", &errands.bury.join(" "));
        text.set("told", &errands.told.join(" "));
        text.add(PLACE);
        text.errands = errands;
        text
    }

    /// A script was answered, and so done.
    pub(super) fn answered(&self, text: &Text, command_id: &str) {
        let mut known = self.known();
        known.errands.remove(&text.errands);
        // It becomes part of a path.
        if command_id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            known.errands.told.push(command_id.to_owned());
        }
    }

    pub(super) fn has_errands(&self) -> bool {
        !self.known().errands.is_empty()
    }

    /// Counts one that runs a command.
    pub(super) fn enter(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    /// How long a script may wait for output.
    pub(super) fn wait(&self) -> Duration {
        let most = self.target.timing.wait;
        if self.active.load(Ordering::Relaxed) > PATIENT {
            most.min(Duration::from_secs(2))
        } else {
            most
        }
    }
}

#[derive(Debug)]
pub(super) struct Active(Arc<Host>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
