//! Every wait has an end that is known when it begins, and can say how far
//! away it is.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    since: Instant,
    until: Instant,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        let since = Instant::now();
        // A century stands for "never": `Instant` may not reach further.
        let limit = limit.min(Duration::from_hours(100 * 365 * 24));
        Self {
            since,
            until: since + limit,
        }
    }

    pub fn passed(&self) -> bool {
        Instant::now() >= self.until
    }

    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    pub fn limit(&self) -> Duration {
        self.until - self.since
    }

    /// Sleeps for `pause`, but never past the deadline.
    pub async fn pause(&self, pause: Duration) {
        tokio::time::sleep(pause.min(self.remaining())).await;
    }

    pub async fn reached(&self) {
        tokio::time::sleep_until(self.until).await;
    }
}
