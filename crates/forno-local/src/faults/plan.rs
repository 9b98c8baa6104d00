//! A plan of faults as data. Programs build one with [`Fault::of`]; people
//! write one as TOML (see `written`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::actions::Actions;
use super::channel::ChannelFault;
use super::log::Asked;
use crate::api::filters::Glob;

/// What is to go wrong. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// Entries; those that strike the same call work together.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Limits on how often calls may come; a call must pass all that match it.
    #[serde(default, rename = "throttle", skip_serializing_if = "Vec::is_empty")]
    pub throttles: Vec<Throttle>,
    /// What happens on data channels.
    #[serde(default, rename = "channel", skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelFault>,
}

impl FaultPlan {
    /// A plan of these entries.
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            faults: faults.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// One bucket of tokens for all calls that it matches, of all regions.
#[derive(Debug, Clone, PartialEq)]
pub struct Throttle {
    /// Whose calls take a token.
    pub action: Actions,
    /// How many tokens it holds; full at first.
    pub burst: u32,
    /// How many come back per second.
    pub rate: f64,
}

/// One entry: which calls it strikes, and what it does to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(super) action: Actions,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) calls: Calls,
    pub(super) latency: Duration,
    pub(super) ending: Ending,
    pub(super) hide: Duration,
    pub(super) then: Vec<Then>,
    pub(super) after: Duration,
}

/// Which of the calls that an entry matches it strikes. They are counted by
/// the entry, from 1, since the plan was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calls {
    /// These.
    These(BTreeSet<u64>),
    /// All from the first number to the second, both included.
    Range(u64, Option<u64>),
}

/// How a struck call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the reply to its work.
    Reply,
    /// With this, and no work.
    Error(InjectedError),
    Reset(Moment),
    Hang(Moment),
}

/// A refusal in the service's own format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedError {
    /// A code such as `InternalError`.
    pub code: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// For people.
    pub message: String,
}

/// On which side of the work of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// The work is never done.
    Before,
    /// The work is done and on disk.
    After,
}

/// What becomes of what a call makes or moves, other than it should. What is
/// stuck comes loose when the plan is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The image fails with this reason; its snapshot is completed.
    ImageFailed(String),
    /// The snapshot ends in error, and its image fails, with this reason.
    SnapshotError(String),
    /// Image and snapshot stay pending.
    ImagePending,
    /// The instance ends by itself, with this reason.
    InstanceTerminated(String),
    /// The instance stays pending, though its machine runs.
    StuckPending,
    /// The instance stays stopping, though its machine is off.
    StuckStopping,
    /// The instance stays shutting-down, though its machine is gone.
    StuckShuttingDown,
    /// The command cannot be delivered.
    CommandUndeliverable,
    /// The command is cancelled though nobody asked for that.
    CommandCancelled,
    /// The agent loses its connection for so long.
    AgentLost(Duration),
}

impl Fault {
    /// An entry for the first call of an action (a pattern as in
    /// [`Actions`]); without effect until it is given one.
    pub fn of(action: &str) -> Self {
        Self {
            action: Actions::new(action),
            parameters: BTreeMap::new(),
            calls: Calls::default(),
            latency: Duration::ZERO,
            ending: Ending::Reply,
            hide: Duration::ZERO,
            then: Vec::new(),
            after: Duration::ZERO,
        }
    }

    /// Only calls with a parameter of such a name and such a value, both
    /// patterns; names as they are sent (`TagSpecification.1.ResourceType`).
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Only the calls of these numbers.
    #[must_use]
    pub fn calls(mut self, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.calls = Calls::These(numbers.into_iter().collect());
        self
    }

    /// All calls from this number on.
    #[must_use]
    pub fn from(mut self, first: u64) -> Self {
        self.calls = Calls::Range(first, None);
        self
    }

    /// All calls.
    #[must_use]
    pub fn every(self) -> Self {
        self.from(1)
    }

    /// Waits before the work.
    #[must_use]
    pub fn latency(mut self, span: Duration) -> Self {
        self.latency = span;
        self
    }

    /// Refuses instead of the work, with the status that EC2 has for the code.
    #[must_use]
    pub fn error(self, code: &str) -> Self {
        self.refusal(InjectedError::new(code))
    }

    /// The same with a status and a message of one's own.
    #[must_use]
    pub fn refusal(mut self, error: InjectedError) -> Self {
        self.ending = Ending::Error(error);
        self
    }

    /// Tears down the connection without a reply.
    #[must_use]
    pub fn reset(mut self, moment: Moment) -> Self {
        self.ending = Ending::Reset(moment);
        self
    }

    /// Never replies.
    #[must_use]
    pub fn hang(mut self, moment: Moment) -> Self {
        self.ending = Ending::Hang(moment);
        self
    }

    /// What the call makes cannot be seen for so long.
    #[must_use]
    pub fn hide(mut self, span: Duration) -> Self {
        self.hide = span;
        self
    }

    /// What becomes of what the call makes or moves.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then.push(then);
        self
    }

    /// How long after the call an image or snapshot fails or an instance ends.
    #[must_use]
    pub fn after(mut self, span: Duration) -> Self {
        self.after = span;
        self
    }

    /// Whether a call is counted by this entry. Dry runs do no work; they
    /// count only where the entry asks for them.
    pub(super) fn matches(&self, asked: &Asked) -> bool {
        let dry = asked
            .parameters
            .get("DryRun")
            .is_some_and(|value| matches!(value.as_str(), "true" | "True" | "1"));
        self.action.matches(asked.service, &asked.action)
            && (!dry || self.parameters.contains_key("DryRun"))
            && self.parameters.iter().all(|(name, value)| {
                let (name, value) = (Glob::new(name), Glob::new(value));
                asked
                    .parameters
                    .iter()
                    .any(|(given, what)| name.matches(given) && value.matches(what))
            })
    }
}

impl Calls {
    pub(super) fn contains(&self, number: u64) -> bool {
        match self {
            Self::These(numbers) => numbers.contains(&number),
            Self::Range(from, to) => *from <= number && to.is_none_or(|to| number <= to),
        }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::These([1].into())
    }
}

impl InjectedError {
    /// What is said where a plan does not say it.
    pub(crate) const MESSAGE: &str = "The plan of faults says so.";

    /// A code with the status that EC2 answers it with.
    pub fn new(code: &str) -> Self {
        Self {
            code: code.to_owned(),
            status: usual_status(code),
            message: Self::MESSAGE.to_owned(),
        }
    }
}

/// EC2's list of server errors, from its overview of error codes; what is not
/// in it is the client's fault.
fn usual_status(code: &str) -> StatusCode {
    match code {
        "RequestLimitExceeded"
        | "SlowDown"
        | "ServiceUnavailable"
        | "Unavailable"
        | "BandwidthLimitExceeded" => StatusCode::SERVICE_UNAVAILABLE,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "InsufficientInstanceCapacity"
        | "InsufficientAddressCapacity"
        | "InsufficientCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientVolumeCapacity" => StatusCode::INTERNAL_SERVER_ERROR,
        "AuthFailure" => StatusCode::UNAUTHORIZED,
        "UnauthorizedOperation" => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::ServiceName;
    use super::*;

    fn asked(action: &str, parameters: &[(&str, &str)]) -> Asked {
        Asked {
            service: ServiceName::Ec2,
            region: "us-east-1",
            action: action.to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            request_id: String::new(),
        }
    }

    #[test]
    fn an_entry_matches_action_and_parameters() {
        let fault = Fault::of("Run*")
            .with("ImageId", "ami-*")
            .with("TagSpecification.*.Key", "a");
        let call = |parameters: &[(&str, &str)]| fault.matches(&asked("RunInstances", parameters));
        assert!(call(&[
            ("ImageId", "ami-1"),
            ("TagSpecification.1.Tag.2.Key", "a")
        ]));
        assert!(!call(&[("ImageId", "ami-1")]));
        assert!(!call(&[
            ("ImageId", "resolve:ssm:x"),
            ("TagSpecification.1.Tag.2.Key", "a")
        ]));
        assert!(!Fault::of("Run*").matches(&asked("StopInstances", &[])));
    }

    #[test]
    fn a_dry_run_counts_where_it_is_asked_for() {
        let dry = asked("RunInstances", &[("DryRun", "true")]);
        assert!(!Fault::of("*").matches(&dry));
        assert!(Fault::of("*").with("DryRun", "true").matches(&dry));
        assert!(Fault::of("*").matches(&asked("RunInstances", &[("DryRun", "false")])));
    }

    #[test]
    fn numbers() {
        let hits = |calls: &Calls| (1..=5).filter(|n| calls.contains(*n)).collect::<Vec<_>>();
        assert_eq!(hits(&Calls::default()), [1]);
        assert_eq!(hits(&Fault::of("*").calls([2, 4]).calls), [2, 4]);
        assert_eq!(hits(&Fault::of("*").from(4).calls), [4, 5]);
        assert_eq!(hits(&Fault::of("*").every().calls), [1, 2, 3, 4, 5]);
        assert_eq!(hits(&Calls::Range(2, Some(3))), [2, 3]);
    }
}
