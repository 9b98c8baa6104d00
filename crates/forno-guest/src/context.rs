//! What a step gets besides itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forno_events::{Emitter, Event, StepId, Stream};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::StepError;

#[derive(Clone)]
pub struct StepContext {
    pub step: StepId,
    pub emitter: Emitter,
    pub cancel: CancellationToken,
    /// Environment of every shell step and of ansible-playbook, such as
    /// `FORNO_IMAGE`; a step's own wins.
    pub env: BTreeMap<String, SecretString>,
    /// Nothing that is sent is a secret: a link may pass it where it can be read
    /// later.
    pub public: bool,
    /// Where roles and collections with pinned versions are kept between bakes.
    pub cache: Option<PathBuf>,
    /// Programs of this machine, looked up in `PATH` when not absolute.
    pub ansible_playbook: PathBuf,
    pub ansible_galaxy: PathBuf,
    /// Asked by steps with [`crate::OnFailure::Ask`]; none: they fail.
    pub decide: Option<Arc<dyn Decide>>,
    /// Where it is remembered how far a run has come; none: nowhere.
    pub runs: Option<Arc<dyn RunLog>>,
    /// This step was begun by a process that is gone.
    pub resume: Option<RunState>,
    /// How often a wait makes itself heard.
    pub heartbeat: Duration,
}

impl StepContext {
    pub fn new(step: StepId, emitter: Emitter, cancel: CancellationToken) -> Self {
        Self {
            step,
            emitter,
            cancel,
            env: BTreeMap::new(),
            public: false,
            cache: None,
            ansible_playbook: "ansible-playbook".into(),
            ansible_galaxy: "ansible-galaxy".into(),
            decide: None,
            runs: None,
            resume: None,
            heartbeat: Duration::from_secs(5),
        }
    }

    pub(crate) fn line(&self, stream: Stream, line: impl Into<String>) {
        self.emitter.emit(Event::Output {
            step: self.step.clone(),
            stream,
            line: line.into(),
        });
    }

    pub(crate) fn waiting(&self, what: &str, state: String, waited: Duration, within: Duration) {
        self.emitter.emit(Event::Waiting {
            step: self.step.clone(),
            what: what.to_owned(),
            resource: None,
            state,
            waited_ms: millis(waited),
            deadline_ms: millis(within),
        });
    }
}

impl fmt::Debug for StepContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepContext({})", self.step)
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How far an attempt at a step has come. Enough for another process to take up
/// its run, and nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Names the run's folder on the machine.
    pub id: String,
    /// From 1.
    pub attempt: u32,
    /// Bytes of each output that were told, up to a whole line.
    pub stdout: u64,
    pub stderr: u64,
}

/// Remembers runs: a step's when an attempt begins, and again as the output of
/// a script is taken in, at most twice a second and when the connection breaks.
///
/// What is told after the last `save` is told once more by whoever takes up the
/// run; nothing is left out.
pub trait RunLog: Send + Sync {
    /// Must not take long: the step waits.
    fn save(&self, state: &RunState);
}

/// Decides on a person's behalf about a failed step; may take its time.
#[async_trait]
pub trait Decide: Send + Sync {
    async fn decide(&self, step: &str, error: &StepError) -> Decision;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Retry,
    Continue,
    Fail,
}
