//! A toy world: things that exist or not, made and removed by calls that can
//! be told to go wrong, each in every way that a call to a cloud can.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by test files, each of which uses its part"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forno_events::BakeId;
use forno_saga::{
    Attempt, Effect, EffectError, EffectId, Failure, Happened, Intent, Ladder, Ledger, RunError,
    Saga, Undo, UndoPolicy, UndoReport,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How making a thing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    None,
    /// Refused; nothing happened.
    Refused,
    /// The process dies before the call is sent.
    DiesBefore,
    /// The process dies when it has happened and nobody knows.
    DiesAfter,
    /// The answer is lost, and it has happened.
    LostAfter,
    /// The answer is lost, and it has not happened.
    LostBefore,
}

pub const FAULTS: [Fault; 6] = [
    Fault::None,
    Fault::Refused,
    Fault::DiesBefore,
    Fault::DiesAfter,
    Fault::LostAfter,
    Fault::LostBefore,
];

#[derive(Debug, Default)]
struct State {
    things: BTreeSet<String>,
    made: Vec<String>,
    removals: Vec<String>,
    /// Looks that still find nothing although it is there.
    hidden: BTreeMap<String, u32>,
    /// Removals of this thing that still fail.
    stubborn: BTreeMap<String, u32>,
    refuses: BTreeSet<String>,
}

/// The world. Clones are the same world; it outlives every process in it.
#[derive(Clone, Debug, Default)]
pub struct World(Arc<Mutex<State>>);

#[derive(Debug)]
pub struct ToyError(pub Happened);

impl EffectError for ToyError {
    fn happened(&self) -> Happened {
        self.0
    }

    fn failure(&self) -> Failure {
        Failure::new("toy", format!("{:?}", self.0))
    }
}

impl World {
    pub fn things(&self) -> Vec<String> {
        self.0.lock().unwrap().things.iter().cloned().collect()
    }

    /// Every making that happened, in order.
    pub fn made(&self) -> Vec<String> {
        self.0.lock().unwrap().made.clone()
    }

    pub fn removals(&self) -> Vec<String> {
        self.0.lock().unwrap().removals.clone()
    }

    pub fn hide(&self, thing: &str, looks: u32) {
        self.0.lock().unwrap().hidden.insert(thing.into(), looks);
    }

    pub fn make_stubborn(&self, thing: &str, times: u32) {
        self.0.lock().unwrap().stubborn.insert(thing.into(), times);
    }

    pub fn refuse_removal(&self, thing: &str) {
        self.0.lock().unwrap().refuses.insert(thing.into());
    }

    fn make(&self, thing: &str) {
        let mut state = self.0.lock().unwrap();
        state.things.insert(thing.into());
        state.made.push(thing.into());
    }

    /// Makes a thing as a call of an effect, or goes wrong.
    pub async fn call(self, thing: String, fault: Fault) -> Result<String, ToyError> {
        match fault {
            Fault::None => self.make(&thing),
            Fault::Refused => return Err(ToyError(Happened::No)),
            Fault::DiesBefore => std::future::pending().await,
            Fault::DiesAfter => {
                self.make(&thing);
                std::future::pending::<()>().await;
            }
            Fault::LostAfter => {
                self.make(&thing);
                return Err(ToyError(Happened::Unknown));
            }
            Fault::LostBefore => return Err(ToyError(Happened::Unknown)),
        }
        Ok(thing)
    }
}

#[async_trait]
impl Undo for World {
    async fn attempt(&self, effect: &Effect) -> Attempt {
        let thing = effect.intent["thing"].as_str().unwrap().to_owned();
        let mut state = self.0.lock().unwrap();
        state.removals.push(thing.clone());
        if state.refuses.contains(&thing) {
            return Attempt::Refused(Failure::new("refused", "somebody else's"));
        }
        if let Some(looks) = state.hidden.get_mut(&thing)
            && *looks > 0
        {
            *looks -= 1;
            return Attempt::Absent;
        }
        if !state.things.contains(&thing) {
            return Attempt::Absent;
        }
        if let Some(times) = state.stubborn.get_mut(&thing)
            && *times > 0
        {
            *times -= 1;
            return Attempt::Failed(Failure::new("in-use", "something uses it"));
        }
        state.things.remove(&thing);
        Attempt::Gone
    }

    fn command(&self, effect: &Effect) -> String {
        format!("remove {}", effect.intent["thing"].as_str().unwrap())
    }
}

/// A policy that takes no noticeable time, but keeps its order of magnitude.
pub fn policy() -> UndoPolicy {
    UndoPolicy {
        limit: Duration::from_mins(1),
        interval: Duration::from_millis(1),
        attempt_limit: Duration::from_secs(10),
        settle: Duration::from_millis(20),
    }
}

pub fn intent(thing: &str) -> Intent {
    Intent {
        effect: EffectId::new(thing),
        kind: "thing".into(),
        intent: json!({ "thing": thing }),
    }
}

pub fn begin(dir: &std::path::Path) -> Saga {
    let ledger = Ledger::create(dir, &BakeId::new("toy"), json!({})).unwrap();
    Saga::new(ledger)
}

/// Makes the things one after the other, the one at `at` with its fault, as a
/// process would that dies there when the fault says so. `true`: it died.
pub async fn run(saga: &Saga, world: &World, things: &[&str], at: usize, fault: Fault) -> bool {
    let cancel = CancellationToken::new();
    for (index, thing) in things.iter().enumerate() {
        let fault = if index == at { fault } else { Fault::None };
        let call = world.clone().call((*thing).to_owned(), fault);
        let outcome = tokio::select! {
            outcome = saga.run(intent(thing), &cancel, call) => outcome,
            () = dead(fault, world, thing) => return true,
        };
        match outcome {
            Ok(_) => {}
            Err(RunError::Failed(_)) => return false,
            Err(error) => panic!("{error:?}"),
        }
    }
    false
}

/// Returns when the process of a call with this fault is dead.
async fn dead(fault: Fault, world: &World, thing: &str) {
    match fault {
        Fault::DiesBefore => tokio::time::sleep(Duration::from_millis(20)).await,
        Fault::DiesAfter => {
            while !world.made().iter().any(|made| made == thing) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        _ => std::future::pending().await,
    }
}

pub async fn undo(saga: &Saga, world: &World) -> UndoReport {
    undo_on(saga, world, &Ladder::new()).await
}

pub async fn undo_on(saga: &Saga, world: &World, ladder: &Ladder) -> UndoReport {
    saga.undoing(world, policy(), ladder, &|_| {}).all().await
}
