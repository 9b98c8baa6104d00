//! EC2's way of limiting requests: a bucket of tokens that refills steadily.
//! Each request takes one; an empty bucket refuses.

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Bucket {
    burst: f64,
    rate: f64,
    tokens: f64,
    seen: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(burst: u32, rate: f64, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self {
            burst,
            rate,
            tokens: burst,
            seen: now,
        }
    }

    /// Whether there was a token to take.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.rate).min(self.burst);
        self.seen = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2.0, start);
        let mut take = |millis| bucket.take(start + Duration::from_millis(millis));
        assert_eq!([0, 0, 0, 0].map(&mut take), [true, true, true, false]);
        assert_eq!([499, 500, 500].map(&mut take), [false, true, false]);
        assert_eq!(
            [9000, 9000, 9000, 9000].map(&mut take),
            [true, true, true, false]
        );
    }

    proptest! {
        /// However requests are spread, no more pass than burst and rate allow.
        #[test]
        fn never_more_than_burst_and_rate(
            burst in 1_u32..20,
            rate in 1_u32..50,
            gaps in proptest::collection::vec(0_u64..400, 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(burst, f64::from(rate), start);
            let (mut at, mut passed) = (0_u64, 0.0_f64);
            for gap in gaps {
                at += gap;
                if bucket.take(start + Duration::from_millis(at)) {
                    passed += 1.0;
                }
                let allowed = f64::from(burst) + f64::from(rate) * Duration::from_millis(at).as_secs_f64();
                prop_assert!(passed <= allowed + 1e-6, "{passed} of {allowed}");
            }
        }
    }
}
