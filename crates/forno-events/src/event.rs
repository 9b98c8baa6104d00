//! The events and their envelope.
//!
//! A reader of a newer recording must survive: unknown events become
//! [`Event::Unknown`], unknown fields are ignored, new fields have defaults.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BakeId, StepId};

/// The version of what is recorded; raised when a field changes its meaning.
pub const SCHEMA_VERSION: u16 = 1;

/// One recorded event: a line of `events.jsonl` and of `--output json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub v: u16,
    pub bake: BakeId,
    /// Counts from 0 within a bake, without gaps in what is recorded.
    pub index: u64,
    pub at: Timestamp,
    /// Since the bake started, by a monotonic clock.
    pub elapsed_ms: u64,
    pub body: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// First of all: what is going to happen, so that a renderer can draw it.
    BakeStarted {
        image: String,
        region: String,
        source: String,
        digest: String,
        steps: Vec<StepInfo>,
    },
    StepStarted {
        step: StepId,
        attempt: u32,
    },
    StepRetry {
        step: StepId,
        next_attempt: u32,
        delay_ms: u64,
        error: String,
    },
    StepFinished {
        step: StepId,
        outcome: Outcome,
        attempt: u32,
        elapsed_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A heartbeat of every wait: what, its state, until when at most.
    Waiting {
        step: StepId,
        what: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<String>,
        state: String,
        waited_ms: u64,
        deadline_ms: u64,
    },
    /// Part of a step that has a name of its own, such as an Ansible task.
    Task {
        step: StepId,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<String>,
    },
    /// Lossy.
    Progress {
        step: StepId,
        done: u64,
        total: Option<u64>,
        unit: Unit,
    },
    /// Lossy; one line without its end. The whole stands in the step's file.
    Output {
        step: StepId,
        stream: Stream,
        line: String,
    },
    ResourceCreated(Resource),
    ResourceReleased(Resource),
    /// Could not be undone; `command` removes it by hand.
    ResourceStuck {
        #[serde(flatten)]
        resource: Resource,
        error: String,
        command: String,
    },
    Note {
        severity: Severity,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    CancelRequested {
        reason: String,
    },
    /// Teardown is over; the last event of a bake.
    BakeFinished {
        outcome: Outcome,
        exit_code: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// How many resources are left behind.
        #[serde(default)]
        leaks: u32,
    },
    /// From a newer forno.
    #[serde(other)]
    Unknown,
}

/// A step as announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInfo {
    pub id: StepId,
    /// For people: the recipe's name of the step, or ours.
    pub name: String,
    /// The phase of the bake: `network`, `provision`, `capture`, …
    pub phase: String,
}

/// Something in the cloud that this bake made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// EC2's own word: `instance`, `security-group`, `key-pair`, `image`, `snapshot`.
    pub kind: String,
    pub id: String,
    pub region: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Ok,
    Failed,
    Skipped,
    Cancelled,
    /// Failed, and the recipe says to go on.
    Tolerated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Stdout,
    Stderr,
    /// A serial console.
    Console,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Bytes,
    Percent,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
}

impl Event {
    /// May be dropped when a consumer is slow.
    pub fn is_lossy(&self) -> bool {
        matches!(self, Self::Progress { .. } | Self::Output { .. })
    }

    /// The step that it belongs to, if any.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::StepStarted { step, .. }
            | Self::StepRetry { step, .. }
            | Self::StepFinished { step, .. }
            | Self::Waiting { step, .. }
            | Self::Task { step, .. }
            | Self::Progress { step, .. }
            | Self::Output { step, .. } => Some(step),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_newer_forno_is_read_as_unknown() {
        let line = r#"{"event":"teleported","to":"moon"}"#;
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), Event::Unknown);
    }

    #[test]
    fn a_line_comes_back_as_it_was() {
        let bake = BakeId::new("base");
        let envelope = Envelope {
            v: SCHEMA_VERSION,
            bake,
            index: 7,
            at: Timestamp::UNIX_EPOCH,
            elapsed_ms: 12,
            body: Event::ResourceStuck {
                resource: Resource {
                    kind: "security-group".into(),
                    id: "sg-1".into(),
                    region: "eu-west-1".into(),
                },
                error: "DependencyViolation".into(),
                command: "aws ec2 delete-security-group --group-id sg-1".into(),
            },
        };
        let line = serde_json::to_string(&envelope).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&line).unwrap(), envelope);
    }
}
