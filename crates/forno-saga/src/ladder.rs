//! How urgently to stop: a ladder that is only ever climbed.
//!
//! Signals are the usual reason to climb, but this module does not know them:
//! a server's shutdown or a test climbs the same way.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Go on.
    #[default]
    Running,
    /// Stop what is being done and undo it, looking until it is gone.
    Undo,
    /// Ask for every removal once and wait for none.
    Hurry,
    /// Leave everything as it is and say where the ledger lies.
    GiveUp,
}

impl Rung {
    fn next(self) -> Self {
        match self {
            Self::Running => Self::Undo,
            Self::Undo => Self::Hurry,
            Self::Hurry | Self::GiveUp => Self::GiveUp,
        }
    }
}

/// Shared by all that must hear of it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ladder {
    state: Arc<watch::Sender<State>>,
    first: CancellationToken,
}

#[derive(Clone, Debug, Default)]
struct State {
    rung: Rung,
    reason: Option<String>,
}

impl Ladder {
    pub fn new() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State::default())),
            first: CancellationToken::new(),
        }
    }

    /// One rung up; `reason` is kept from the first time.
    pub fn climb(&self, reason: &str) -> Rung {
        let mut rung = Rung::Running;
        self.state.send_modify(|state| {
            state.rung = state.rung.next();
            state.reason.get_or_insert_with(|| reason.to_owned());
            rung = state.rung;
        });
        self.first.cancel();
        rung
    }

    pub fn rung(&self) -> Rung {
        self.state.borrow().rung
    }

    /// Why it was climbed first.
    pub fn reason(&self) -> Option<String> {
        self.state.borrow().reason.clone()
    }

    /// Cancelled with the first rung; children of it can be cancelled alone.
    pub fn token(&self) -> &CancellationToken {
        &self.first
    }

    /// Returns once `rung` or a higher one is reached.
    pub async fn reached(&self, rung: Rung) {
        let mut watcher = self.state.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = watcher.wait_for(|state| state.rung >= rung).await;
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_climbed_rung_by_rung_and_remembers_the_first_reason() {
        let ladder = Ladder::new();
        assert_eq!(ladder.rung(), Rung::Running);
        assert!(!ladder.token().is_cancelled());
        assert_eq!(ladder.climb("interrupt"), Rung::Undo);
        assert!(ladder.token().is_cancelled());
        ladder.reached(Rung::Undo).await;
        assert_eq!(ladder.climb("again"), Rung::Hurry);
        assert_eq!(ladder.climb("again"), Rung::GiveUp);
        assert_eq!(ladder.climb("again"), Rung::GiveUp);
        assert_eq!(ladder.reason().as_deref(), Some("interrupt"));
    }

    #[tokio::test]
    async fn waiters_hear_of_a_rung_above_the_one_they_wait_for() {
        let ladder = Ladder::new();
        let waiter = tokio::spawn({
            let ladder = ladder.clone();
            async move { ladder.reached(Rung::Hurry).await }
        });
        for _ in 0..3 {
            ladder.climb("test");
        }
        waiter.await.unwrap();
    }
}
