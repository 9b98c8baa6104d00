//! How long an acknowledgement takes, and how long one is waited for.

use std::time::Duration;

const INITIAL: Duration = Duration::from_millis(200);
const CAP: Duration = Duration::from_secs(1);
const LEAST_VARIANCE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    variance: Duration,
    least: Duration,
    timeout: Duration,
}

impl Rtt {
    pub(super) fn new() -> Self {
        Self {
            smoothed: None,
            variance: Duration::ZERO,
            least: Duration::MAX,
            timeout: INITIAL,
        }
    }

    /// Of a message that was sent once; of another it is not known which time
    /// was acknowledged.
    pub(super) fn sample(&mut self, taken: Duration) {
        self.least = self.least.min(taken);
        let smoothed = match self.smoothed {
            None => {
                self.variance = taken / 2;
                taken
            }
            Some(smoothed) => {
                self.variance = (self.variance * 3 + smoothed.abs_diff(taken)) / 4;
                (smoothed * 7 + taken) / 8
            }
        };
        self.smoothed = Some(smoothed);
        self.timeout = CAP.min(smoothed + LEAST_VARIANCE.max(self.variance * 4));
    }

    /// No answer within the time: the next is waited for twice as long, until
    /// there is a sample.
    pub(super) fn back_off(&mut self) {
        self.timeout = CAP.min(self.timeout * 2);
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether so long says that messages queue up on their way.
    pub(super) fn is_congested(&self, taken: Duration) -> bool {
        taken > self.least.saturating_mul(2) + Duration::from_millis(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_time_out_follows_what_is_measured() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.timeout(), 200 * MS);
        rtt.sample(40 * MS);
        // 40 + 4 * 20
        assert_eq!(rtt.timeout(), 120 * MS);
        for _ in 0..100 {
            rtt.sample(40 * MS);
        }
        // The variance is gone; 10 ms stay.
        assert_eq!(rtt.timeout(), 50 * MS);
        rtt.back_off();
        assert_eq!(rtt.timeout(), 100 * MS);
        for _ in 0..10 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), 1000 * MS);
        rtt.sample(30_000 * MS);
        assert_eq!(rtt.timeout(), 1000 * MS);
    }

    #[test]
    fn a_queue_is_told_by_its_delay() {
        let mut rtt = Rtt::new();
        rtt.sample(40 * MS);
        assert!(!rtt.is_congested(150 * MS));
        assert!(rtt.is_congested(200 * MS));
    }
}
