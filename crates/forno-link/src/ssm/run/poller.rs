//! One question for all commands that are underway. Systems Manager throttles by
//! account and region, so however many machines a process works on, it asks about
//! all of them at once, and only while somebody waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::ssm::{CommandState, Refusal, RefusalKind, Stage, Systems};

/// The clock of this computer and that of Systems Manager may differ.
const SKEW: Duration = Duration::from_mins(1);

/// A command that is still not in the list is asked about by itself.
const UNLISTED: Duration = Duration::from_secs(5);

/// Pauses between questions: short after a command was sent, longer later.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub first: Duration,
    pub most: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(300),
            most: Duration::from_secs(2),
        }
    }
}

/// Sends commands and waits for their ends; clones share the waiting.
#[derive(Clone)]
pub struct Commands(Arc<Shared>);

struct Shared {
    systems: Arc<dyn Systems>,
    pace: Pace,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_id: HashMap<String, Entry>,
    asking: bool,
}

struct Entry {
    since: SystemTime,
    sent: Instant,
    listed: bool,
    tell: oneshot::Sender<Result<Stage, Refusal>>,
}

impl Commands {
    pub fn new(systems: Arc<dyn Systems>) -> Self {
        Self::with_pace(systems, Pace::default())
    }

    pub fn with_pace(systems: Arc<dyn Systems>, pace: Pace) -> Self {
        Self(Arc::new(Shared {
            systems,
            pace,
            waiting: Mutex::default(),
        }))
    }

    pub(super) fn systems(&self) -> &Arc<dyn Systems> {
        &self.0.systems
    }

    /// Waits for a command's end.
    pub(super) async fn ended(&self, command_id: &str, instance: &str) -> Result<Stage, Refusal> {
        let (tell, mut told) = oneshot::channel();
        self.0.lock().by_id.insert(
            command_id.to_owned(),
            Entry {
                since: SystemTime::now(),
                sent: Instant::now(),
                listed: false,
                tell,
            },
        );
        loop {
            // The one who asks may have gone with the runtime that it was in.
            self.ask();
            match tokio::time::timeout(UNLISTED, &mut told).await {
                Ok(Ok(stage)) => return stage,
                Ok(Err(_)) => return Err(lost_track()),
                Err(_) => {}
            }
            let listed = self.0.lock().by_id.get(command_id).is_none_or(|e| e.listed);
            if listed {
                continue;
            }
            let said = self.0.systems.command_output(command_id, instance).await;
            if let Ok(output) = said
                && output.stage != Stage::Underway
            {
                self.0.lock().by_id.remove(command_id);
                return Ok(output.stage);
            }
        }
    }

    fn ask(&self) {
        let mut waiting = self.0.lock();
        if !std::mem::replace(&mut waiting.asking, true) {
            let turn = Turn {
                shared: Arc::clone(&self.0),
                over: false,
            };
            drop(waiting);
            tokio::spawn(turn.keep_asking());
        }
    }
}

fn lost_track() -> Refusal {
    Refusal::new(RefusalKind::Other, "internal: nobody asks any more")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has it asks for all. It is given up also when its runtime ends.
struct Turn {
    shared: Arc<Shared>,
    over: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            self.shared.lock().asking = false;
        }
    }
}

impl Turn {
    async fn keep_asking(mut self) {
        while let Some(youngest) = self.youngest() {
            let Pace { first, most } = self.shared.pace;
            tokio::time::sleep((youngest.elapsed() / 3).clamp(first, most)).await;
            let Some(oldest) = self.shared.lock().oldest() else {
                continue;
            };
            match self.shared.systems.command_states(oldest - SKEW).await {
                Ok(states) => self.shared.lock().tell(states),
                Err(refusal)
                    if matches!(refusal.kind, RefusalKind::Denied | RefusalKind::Other) =>
                {
                    self.shared.lock().tell_all(&refusal);
                }
                Err(refusal) => tracing::debug!(%refusal, "asking about commands"),
            }
        }
    }

    /// None, and the turn is over, when nobody waits.
    fn youngest(&mut self) -> Option<Instant> {
        let mut waiting = self.shared.lock();
        let youngest = waiting.youngest();
        if youngest.is_none() {
            waiting.asking = false;
            self.over = true;
        }
        youngest
    }
}

impl Waiting {
    fn forget_the_gone(&mut self) {
        self.by_id.retain(|_, entry| !entry.tell.is_closed());
    }

    fn youngest(&mut self) -> Option<Instant> {
        self.forget_the_gone();
        self.by_id.values().map(|entry| entry.sent).max()
    }

    fn oldest(&mut self) -> Option<SystemTime> {
        self.forget_the_gone();
        self.by_id.values().map(|entry| entry.since).min()
    }

    fn tell(&mut self, states: Vec<CommandState>) {
        for state in states {
            if state.stage == Stage::Underway {
                if let Some(entry) = self.by_id.get_mut(&state.command_id) {
                    entry.listed = true;
                }
            } else if let Some(entry) = self.by_id.remove(&state.command_id) {
                let _ = entry.tell.send(Ok(state.stage));
            }
        }
    }

    fn tell_all(&mut self, refusal: &Refusal) {
        for (_, entry) in self.by_id.drain() {
            let _ = entry.tell.send(Err(refusal.clone()));
        }
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commands({:?})", self.0.systems)
    }
}
