//! What a change of state waits for besides the machine itself: EC2's pace,
//! and a plan of faults that holds it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Passed at once, unless something holds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    not_before: Option<Instant>,
    stuck: Option<CancellationToken>,
}

impl Gate {
    /// A gate that opens after a time, counted from now, and when nothing holds
    /// it any longer.
    pub(super) fn new(at_least: Duration, stuck: Option<CancellationToken>) -> Self {
        Self {
            not_before: (!at_least.is_zero()).then(|| Instant::now() + at_least),
            stuck,
        }
    }

    pub(super) async fn pass(&self) {
        if let Some(instant) = self.not_before {
            tokio::time::sleep_until(instant).await;
        }
        if let Some(stuck) = &self.stuck {
            stuck.cancelled().await;
        }
    }
}
