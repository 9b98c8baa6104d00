//! What a plan does to the work of one call, as the actions and the machines
//! need it: nothing, for nearly all calls.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::Then;
use crate::state::world::Reason;

/// What a plan does to the work of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    /// How long what the call makes cannot be seen.
    pub(crate) hide: Duration,
    /// What becomes of it, and after what time.
    pub(super) then: Vec<(Then, Duration)>,
    /// Cancelled when the plan is replaced: what is stuck comes loose.
    pub(super) lifted: CancellationToken,
}

/// How the image of a CreateImage ends, other than it should.
#[derive(Debug, Clone)]
pub(crate) enum CaptureEnd {
    /// The image fails at a time; its snapshot is whole.
    ImageFails(Reason, Instant),
    /// Both fail at a time.
    SnapshotFails(Reason, Instant),
    /// Both are pending until this is cancelled.
    Stuck(CancellationToken),
}

impl Marks {
    /// What holds an instance in a state, where something does.
    pub(crate) fn stuck(&self, state: &Then) -> Option<CancellationToken> {
        self.then
            .iter()
            .any(|(then, _)| then == state)
            .then(|| self.lifted.clone())
    }

    /// Why and when an instance ends by itself.
    pub(crate) fn death(&self) -> Option<(Reason, Duration)> {
        self.then.iter().find_map(|(then, after)| match then {
            Then::InstanceTerminated(code) => Some((reason(code), *after)),
            _ => None,
        })
    }

    /// After what time a command turns out to be undeliverable.
    pub(crate) fn undeliverable(&self) -> Option<Duration> {
        self.after(&Then::CommandUndeliverable)
    }

    /// After what time a command is cancelled though nobody asked for that.
    pub(crate) fn cancelled(&self) -> Option<Duration> {
        self.after(&Then::CommandCancelled)
    }

    /// For how long an agent is lost, after what time, and what ends that.
    pub(crate) fn agent_lost(&self) -> Option<(Duration, Duration, CancellationToken)> {
        self.then.iter().find_map(|(then, after)| match then {
            Then::AgentLost(time) => Some((*time, *after, self.lifted.clone())),
            _ => None,
        })
    }

    /// Until when something is hidden, and what ends that.
    pub(crate) fn hidden(&self) -> Option<(Instant, CancellationToken)> {
        (!self.hide.is_zero()).then(|| (Instant::now() + self.hide, self.lifted.clone()))
    }

    fn after(&self, what: &Then) -> Option<Duration> {
        let found = self.then.iter().find(|(then, _)| then == what);
        found.map(|(_, after)| *after)
    }

    /// What becomes of a capture that is ordered now.
    pub(crate) fn capture_end(&self) -> Option<CaptureEnd> {
        let now = Instant::now();
        self.then.iter().find_map(|(then, after)| match then {
            Then::ImageFailed(code) => Some(CaptureEnd::ImageFails(reason(code), now + *after)),
            Then::SnapshotError(code) => {
                Some(CaptureEnd::SnapshotFails(reason(code), now + *after))
            }
            Then::ImagePending => Some(CaptureEnd::Stuck(self.lifted.clone())),
            _ => None,
        })
    }
}

/// A code with the words that EC2's documentation of `StateReason` has for it.
fn reason(code: &str) -> Reason {
    let words = match code {
        "Server.InsufficientInstanceCapacity" => {
            "There was insufficient capacity available to satisfy the launch request."
        }
        "Server.InternalError" => {
            "An internal error caused the instance to terminate during launch."
        }
        "Server.ScheduledStop" => "The instance was stopped due to a scheduled retirement.",
        "Server.SpotInstanceShutdown" => {
            "The instance was stopped because the number of Spot requests with a maximum price equal to or higher \
             than the Spot price exceeded available capacity or because of an increase in the Spot price."
        }
        "Server.SpotInstanceTermination" => {
            "The instance was terminated because the number of Spot requests with a maximum price equal to or higher \
             than the Spot price exceeded available capacity or because of an increase in the Spot price."
        }
        "Client.InstanceInitiatedShutdown" => {
            "The instance was shut down from the operating system of the instance."
        }
        "Client.InstanceTerminated" => {
            "The instance was terminated or rebooted during AMI creation."
        }
        "Client.InternalError" => "A client error caused the instance to terminate during launch.",
        "Client.InvalidSnapshot.NotFound" => "The specified snapshot was not found.",
        "Client.UserInitiatedShutdown" => "The instance was shut down using the Amazon EC2 API.",
        "Client.VolumeLimitExceeded" => {
            "The limit on the number of EBS volumes or total storage was exceeded."
        }
        _ => "The plan of faults says so.",
    };
    Reason::new(code, words)
}
