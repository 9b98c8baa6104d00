//! Which machine is meant, and by what means.

use std::sync::Arc;
use std::time::Duration;

use super::poller::Commands;
use crate::ssm::Store;

/// What is usually missing when an instance does not register with Systems
/// Manager.
pub const NEEDS: [&str; 3] = [
    "amazon-ssm-agent in the image, and running",
    "an instance profile with the policy AmazonSSMManagedInstanceCore, or Default Host Management in the account",
    "a way to the endpoints ssm, ssmmessages and ec2messages: a NAT gateway or VPC endpoints",
];

/// Which machine, as whom.
#[derive(Clone, Debug)]
pub struct SsmTarget {
    pub instance_id: String,
    /// Commands run as this user.
    pub user: String,
    /// One for all machines of an account and region.
    pub commands: Commands,
    /// Without one there is only little input and output.
    pub store: Option<Arc<dyn Store>>,
    pub timing: SsmTiming,
}

impl SsmTarget {
    pub fn new(
        instance_id: impl Into<String>,
        user: impl Into<String>,
        commands: Commands,
        store: Option<Arc<dyn Store>>,
    ) -> Self {
        Self {
            instance_id: instance_id.into(),
            user: user.into(),
            commands,
            store,
            timing: SsmTiming::default(),
        }
    }

    pub(super) fn peer(&self) -> String {
        format!("{}@{}", self.user, self.instance_id)
    }
}

/// Deadlines and pauses.
#[derive(Clone, Debug)]
pub struct SsmTiming {
    /// Between looks at an instance that is not online.
    pub pause: Duration,
    /// How long a missing user is waited for: cloud-init may be about to make it.
    pub user_patience: Duration,
    /// For the agent to fetch a script; Systems Manager takes no less than 30 s.
    pub delivery: Duration,
    /// How long a script waits for output before it answers that there is none.
    pub wait: Duration,
    /// How much longer than that an answer may take before it counts as missing.
    pub grace: Duration,
    /// How long output is collected before it is told.
    pub settle: Duration,
    /// When nobody has asked about a command for so long, the machine ends it.
    pub forgotten: Duration,
    /// How long presigned URLs are good for.
    pub urls: Duration,
}

impl Default for SsmTiming {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(2),
            user_patience: Duration::from_mins(1),
            delivery: Duration::from_secs(30),
            wait: Duration::from_secs(20),
            grace: Duration::from_secs(20),
            settle: Duration::from_secs(1),
            forgotten: Duration::from_mins(10),
            urls: Duration::from_mins(15),
        }
    }
}
