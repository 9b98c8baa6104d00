//! The state of bakes, folded from their events.
//!
//! Recordings may be cut short, old, or from a newer forno; live streams drop
//! lossy events. So no order is taken for granted: a step that was never
//! announced is learnt when it first appears, a finish without a start counts.

use std::collections::VecDeque;

use forno_events::{BakeId, Envelope, Event, Outcome, Resource, Severity, StepId, StepInfo, Unit};
use jiff::Timestamp;

use crate::words;

/// Lines of output that are kept per step, to show under it and when it fails.
const TAIL: usize = 20;

/// Every bake that has been heard of, in order of appearance.
#[derive(Clone, Debug, Default)]
pub struct Story {
    bakes: Vec<BakeView>,
}

impl Story {
    pub fn bakes(&self) -> &[BakeView] {
        &self.bakes
    }

    pub fn bake(&self, id: &BakeId) -> Option<&BakeView> {
        self.bakes.iter().find(|bake| bake.id == *id)
    }

    /// Takes an event in and gives the bake that it changed.
    pub fn apply(&mut self, envelope: &Envelope) -> &BakeView {
        let at = self
            .bakes
            .iter()
            .position(|bake| bake.id == envelope.bake)
            .unwrap_or_else(|| {
                self.bakes.push(BakeView::new(envelope.bake.clone()));
                self.bakes.len() - 1
            });
        let bake = &mut self.bakes[at];
        bake.apply(envelope);
        bake
    }
}

/// What is known of one bake.
#[derive(Clone, Debug)]
pub struct BakeView {
    pub id: BakeId,
    pub image: String,
    pub region: String,
    pub source: String,
    pub digest: String,
    pub steps: Vec<StepView>,
    /// Made and not yet known to be gone.
    pub resources: Vec<Resource>,
    pub stuck: Vec<Stuck>,
    pub warnings: Vec<(String, Option<String>)>,
    pub cancelled: Option<String>,
    pub finished: Option<Finished>,
    elapsed_ms: u64,
    last: Option<Timestamp>,
}

/// A resource that could not be removed, and how to do it by hand.
#[derive(Clone, Debug)]
pub struct Stuck {
    pub resource: Resource,
    pub error: String,
    pub command: String,
}

/// How a bake ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub outcome: Outcome,
    pub exit_code: u8,
    pub image_id: Option<String>,
    pub image_name: Option<String>,
    pub error: Option<String>,
    pub hint: Option<String>,
    pub leaks: u32,
}

/// A phase and what its steps took together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    pub name: String,
    pub elapsed_ms: u64,
}

/// What is known of one step.
#[derive(Clone, Debug)]
pub struct StepView {
    pub info: StepInfo,
    pub state: StepState,
    pub attempt: u32,
    /// The latest lines of its output.
    pub tail: VecDeque<String>,
    pub progress: Option<(u64, Option<u64>, Unit)>,
    pub waiting: Option<Waiting>,
    pub task: Option<(String, Option<String>)>,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    Announced,
    Running {
        since_ms: u64,
    },
    /// Failed, and waits for its next attempt.
    Resting {
        since_ms: u64,
    },
    Done {
        outcome: Outcome,
        elapsed_ms: u64,
        message: Option<String>,
    },
}

/// The latest heartbeat of a wait.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub what: String,
    pub resource: Option<String>,
    pub state: String,
    /// When it was waited for `waited_ms`, in the bake's own time.
    pub heard_ms: u64,
    pub waited_ms: u64,
    pub deadline_ms: u64,
}

impl BakeView {
    fn new(id: BakeId) -> Self {
        Self {
            image: id.image().to_owned(),
            id,
            region: String::new(),
            source: String::new(),
            digest: String::new(),
            steps: Vec::new(),
            resources: Vec::new(),
            stuck: Vec::new(),
            warnings: Vec::new(),
            cancelled: None,
            finished: None,
            elapsed_ms: 0,
            last: None,
        }
    }

    /// How long it has taken up to its last event.
    pub fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }

    /// How long it has taken up to a moment by the wall clock, which may be set back.
    pub fn elapsed_at(&self, now: Timestamp) -> u64 {
        let since = self
            .last
            .map_or(0, |last| now.duration_since(last).as_millis());
        let since = if self.finished.is_some() { 0 } else { since };
        self.elapsed_ms
            .saturating_add(u64::try_from(since).unwrap_or(0))
    }

    pub fn step(&self, id: &StepId) -> Option<&StepView> {
        self.steps.iter().find(|step| step.info.id == *id)
    }

    /// What runs, or rests between attempts, in the order of the plan.
    pub fn active(&self) -> impl Iterator<Item = &StepView> {
        self.steps.iter().filter(|step| step.is_active())
    }

    /// The step that a failure is about: what fails after it, such as the
    /// teardown, is not why the bake failed.
    pub fn failed_step(&self) -> Option<&StepView> {
        self.steps.iter().find(|step| {
            matches!(
                step.state,
                StepState::Done {
                    outcome: Outcome::Failed,
                    ..
                }
            )
        })
    }

    pub fn done(&self) -> usize {
        self.steps
            .iter()
            .filter(|step| matches!(step.state, StepState::Done { .. }))
            .count()
    }

    /// What each phase took, in order of appearance.
    pub fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = Vec::new();
        for step in &self.steps {
            let StepState::Done { elapsed_ms, .. } = step.state else {
                continue;
            };
            let name = step.phase();
            match phases.iter_mut().find(|phase| phase.name == name) {
                Some(phase) => phase.elapsed_ms = phase.elapsed_ms.saturating_add(elapsed_ms),
                None => phases.push(Phase {
                    name: name.to_owned(),
                    elapsed_ms,
                }),
            }
        }
        phases
    }

    fn step_mut(&mut self, id: &StepId) -> &mut StepView {
        let at = self
            .steps
            .iter()
            .position(|step| step.info.id == *id)
            .unwrap_or_else(|| {
                self.steps.push(StepView::new(StepInfo {
                    id: id.clone(),
                    name: id.to_string(),
                    phase: String::new(),
                }));
                self.steps.len() - 1
            });
        &mut self.steps[at]
    }

    fn apply(&mut self, envelope: &Envelope) {
        self.elapsed_ms = self.elapsed_ms.max(envelope.elapsed_ms);
        self.last = Some(envelope.at);
        let now = self.elapsed_ms;
        match &envelope.body {
            Event::BakeStarted {
                image,
                region,
                source,
                digest,
                steps,
            } => {
                self.image.clone_from(image);
                self.region.clone_from(region);
                self.source.clone_from(source);
                self.digest.clone_from(digest);
                for info in steps {
                    self.step_mut(&info.id).info = info.clone();
                }
            }
            Event::StepStarted { step, attempt } => {
                let step = self.step_mut(step);
                step.attempt = *attempt;
                step.state = StepState::Running { since_ms: now };
                step.forget();
            }
            Event::StepRetry {
                step, next_attempt, ..
            } => {
                let step = self.step_mut(step);
                step.attempt = *next_attempt;
                step.state = StepState::Resting { since_ms: now };
                step.progress = None;
                step.waiting = None;
                step.task = None;
            }
            Event::StepFinished {
                step,
                outcome,
                attempt,
                elapsed_ms,
                message,
            } => {
                let step = self.step_mut(step);
                // Another process goes on with the bake, and this need not be repeated.
                if *outcome == Outcome::Skipped && step.is_passed() {
                    return;
                }
                step.attempt = *attempt;
                step.state = StepState::Done {
                    outcome: *outcome,
                    elapsed_ms: *elapsed_ms,
                    message: message.clone(),
                };
                step.progress = None;
                step.waiting = None;
                step.task = None;
            }
            Event::Waiting {
                step,
                what,
                resource,
                state,
                waited_ms,
                deadline_ms,
            } => {
                self.step_mut(step).waiting = Some(Waiting {
                    what: what.clone(),
                    resource: resource.clone(),
                    state: state.clone(),
                    heard_ms: now,
                    waited_ms: *waited_ms,
                    deadline_ms: *deadline_ms,
                });
            }
            Event::Task {
                step,
                name,
                outcome,
            } => self.step_mut(step).task = Some((words::clean(name), outcome.clone())),
            Event::Progress {
                step,
                done,
                total,
                unit,
            } => self.step_mut(step).progress = Some((*done, *total, *unit)),
            Event::Output { step, line, .. } => {
                let step = self.step_mut(step);
                step.waiting = None;
                if step.tail.len() == TAIL {
                    step.tail.pop_front();
                }
                step.tail.push_back(words::clean(line));
            }
            Event::ResourceCreated(resource) => {
                if !self.resources.contains(resource) {
                    self.resources.push(resource.clone());
                }
            }
            Event::ResourceReleased(resource) => {
                self.resources.retain(|known| known != resource);
                self.stuck.retain(|stuck| stuck.resource != *resource);
            }
            Event::ResourceStuck {
                resource,
                error,
                command,
            } => {
                self.stuck.retain(|stuck| stuck.resource != *resource);
                self.stuck.push(Stuck {
                    resource: resource.clone(),
                    error: error.clone(),
                    command: command.clone(),
                });
            }
            Event::Note {
                severity: Severity::Warning,
                message,
                hint,
            } => self.warnings.push((message.clone(), hint.clone())),
            Event::Note { .. } | Event::Unknown => {}
            Event::CancelRequested { reason } => self.cancelled = Some(reason.clone()),
            Event::BakeFinished {
                outcome,
                exit_code,
                image_id,
                image_name,
                error,
                hint,
                leaks,
            } => {
                self.finished = Some(Finished {
                    outcome: *outcome,
                    exit_code: *exit_code,
                    image_id: image_id.clone(),
                    image_name: image_name.clone(),
                    error: error.clone(),
                    hint: hint.clone(),
                    leaks: *leaks,
                });
            }
        }
    }
}

impl StepView {
    fn new(info: StepInfo) -> Self {
        Self {
            info,
            state: StepState::Announced,
            attempt: 1,
            tail: VecDeque::new(),
            progress: None,
            waiting: None,
            task: None,
        }
    }

    /// An attempt begins: what the last one said is in its log.
    fn forget(&mut self) {
        self.tail.clear();
        self.progress = None;
        self.waiting = None;
        self.task = None;
    }

    fn is_passed(&self) -> bool {
        matches!(
            self.state,
            StepState::Done {
                outcome: Outcome::Ok | Outcome::Tolerated,
                ..
            }
        )
    }

    pub fn is_active(&self) -> bool {
        matches!(
            self.state,
            StepState::Running { .. } | StepState::Resting { .. }
        )
    }

    /// The phase, or the step's own id where none was announced.
    pub fn phase(&self) -> &str {
        if self.info.phase.is_empty() {
            self.info.id.as_str()
        } else {
            &self.info.phase
        }
    }
}

impl Waiting {
    /// How long it has been waited for, at a moment in the bake's own time.
    pub fn waited_at(&self, elapsed_ms: u64) -> u64 {
        self.waited_ms
            .saturating_add(elapsed_ms.saturating_sub(self.heard_ms))
    }
}
