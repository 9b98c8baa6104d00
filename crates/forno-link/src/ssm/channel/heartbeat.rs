//! Whether a connection that says nothing is still one.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Heartbeat {
    ping: Duration,
    dead: Duration,
    heard: Instant,
    asked: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Wait,
    Ping,
    Dead,
}

impl Heartbeat {
    pub(super) fn new(ping: Duration, dead: Duration, now: Instant) -> Self {
        Self {
            ping,
            dead,
            heard: now,
            asked: now,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    pub(super) fn deadline(&self) -> Instant {
        (self.heard.max(self.asked) + self.ping).min(self.heard + self.dead)
    }

    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        if now >= self.heard + self.dead {
            return Beat::Dead;
        }
        if now < self.deadline() {
            return Beat::Wait;
        }
        self.asked = now;
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_asked_about_and_ends() {
        const SECOND: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut heart = Heartbeat::new(30 * SECOND, 120 * SECOND, start);
        assert_eq!(heart.beat(start + 29 * SECOND), Beat::Wait);
        assert_eq!(heart.deadline(), start + 30 * SECOND);
        assert_eq!(heart.beat(start + 30 * SECOND), Beat::Ping);
        assert_eq!(heart.beat(start + 31 * SECOND), Beat::Wait);
        assert_eq!(heart.beat(start + 60 * SECOND), Beat::Ping);
        heart.heard(start + 61 * SECOND);
        assert_eq!(heart.deadline(), start + 91 * SECOND);
        for _ in 0..3 {
            assert_eq!(heart.beat(heart.deadline()), Beat::Ping);
        }
        assert_eq!(heart.deadline(), start + 181 * SECOND);
        assert_eq!(heart.beat(start + 181 * SECOND), Beat::Dead);
    }
}
