//! What a change of state waits for besides the machine itself: a plan of
//! faults that holds it.

use tokio_util::sync::CancellationToken;

/// Passed at once, unless something holds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    stuck: Option<CancellationToken>,
}

impl Gate {
    pub(super) fn new(stuck: Option<CancellationToken>) -> Self {
        Self { stuck }
    }

    pub(super) async fn pass(&self) {
        if let Some(stuck) = &self.stuck {
            stuck.cancelled().await;
        }
    }
}
