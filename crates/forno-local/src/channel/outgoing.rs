//! What the agent has sent and nobody has acknowledged. The oldest message is
//! sent again when it is older than the time in which acknowledgements usually
//! come; there is room for so many, and the port is not read beyond that.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::codec::Message;

/// How often the agent looks whether something must be sent again.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// So often a message is sent again before the session is given up.
const MOST_RESENDS: u32 = 3000;
/// The most that may be sent from the oldest unacknowledged message on, whatever
/// of it is acknowledged: the other end must keep all of it until that one comes.
const MOST_MESSAGES: i64 = 1000;
const MOST_BYTES: u64 = 2 << 20;

#[derive(Debug)]
pub(super) struct Outgoing {
    next: i64,
    unacknowledged: VecDeque<Sent>,
    /// All that was ever sent.
    bytes: u64,
    trip: RoundTrip,
}

#[derive(Debug)]
struct Sent {
    sequence: i64,
    frame: Vec<u8>,
    /// What was sent before it.
    before: u64,
    at: Instant,
    resends: u32,
}

/// How long acknowledgements take, as the agent estimates it.
#[derive(Debug)]
struct RoundTrip {
    mean: Duration,
    deviation: Duration,
    timeout: Duration,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            unacknowledged: VecDeque::new(),
            bytes: 0,
            trip: RoundTrip {
                mean: Duration::from_millis(100),
                deviation: Duration::ZERO,
                timeout: Duration::from_millis(200),
            },
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.unacknowledged.front().is_none_or(|oldest| {
            self.next - oldest.sequence < MOST_MESSAGES && self.bytes - oldest.before < MOST_BYTES
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// Numbers a message and keeps it.
    pub(super) fn send(&mut self, content: u32, payload: Vec<u8>, now: Instant) -> Vec<u8> {
        let frame = Message::output(self.next, content, payload).encode();
        let before = self.bytes;
        self.bytes += u64::try_from(frame.len()).unwrap_or(0);
        self.unacknowledged.push_back(Sent {
            sequence: self.next,
            frame: frame.clone(),
            before,
            at: now,
            resends: 0,
        });
        self.next += 1;
        frame
    }

    pub(super) fn acknowledged(&mut self, sequence: i64, now: Instant) {
        let found = self
            .unacknowledged
            .binary_search_by_key(&sequence, |sent| sent.sequence);
        if let Ok(place) = found
            && let Some(sent) = self.unacknowledged.remove(place)
        {
            self.trip.measured(now - sent.at);
        }
    }

    /// The oldest message, where it is time to send it again.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Vec<u8>> {
        let oldest = self.unacknowledged.front_mut()?;
        if now - oldest.at <= self.trip.timeout {
            return None;
        }
        oldest.at = now;
        oldest.resends += 1;
        Some(oldest.frame.clone())
    }

    /// Everything, for a client that has come in another's place.
    pub(super) fn again(&mut self, now: Instant) -> impl Iterator<Item = Vec<u8>> {
        self.unacknowledged.iter_mut().map(move |sent| {
            sent.at = now;
            sent.frame.clone()
        })
    }

    /// Whether the other end has not answered for too long.
    pub(super) fn given_up(&self) -> bool {
        self.unacknowledged
            .front()
            .is_some_and(|oldest| oldest.resends > MOST_RESENDS)
    }
}

impl RoundTrip {
    fn measured(&mut self, trip: Duration) {
        let off = self.mean.abs_diff(trip);
        self.deviation = self.deviation * 3 / 4 + off / 4;
        self.mean = self.mean * 7 / 8 + trip / 8;
        let slack = (self.deviation * 4).max(Duration::from_millis(10));
        self.timeout = (self.mean + slack).min(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(frame: &[u8]) -> i64 {
        Message::decode(frame).unwrap().sequence
    }

    #[test]
    fn only_the_oldest_is_sent_again_and_only_when_it_is_late() {
        let start = Instant::now();
        let mut outgoing = Outgoing::new();
        for _ in 0..3 {
            outgoing.send(1, b"x".to_vec(), start);
        }
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(outgoing.overdue(at(200)), None);
        assert_eq!(outgoing.overdue(at(201)).as_deref().map(sequence), Some(0));
        assert_eq!(outgoing.overdue(at(300)), None);
        outgoing.acknowledged(0, at(310));
        assert_eq!(outgoing.overdue(at(900)).as_deref().map(sequence), Some(1));
        outgoing.acknowledged(2, at(901));
        outgoing.acknowledged(7, at(901));
        assert!(!outgoing.is_empty());
        outgoing.acknowledged(1, at(902));
        assert!(outgoing.is_empty());
    }

    #[test]
    fn there_is_an_end_of_room_and_of_patience() {
        let mut now = Instant::now();
        let mut outgoing = Outgoing::new();
        let mut sent = 0;
        while outgoing.has_room() {
            outgoing.send(1, vec![0; 1024], now);
            sent += 1;
        }
        assert_eq!(sent, MOST_MESSAGES);
        // What is acknowledged beyond the oldest makes no room.
        outgoing.acknowledged(5, now);
        assert!(!outgoing.has_room());
        outgoing.acknowledged(0, now);
        assert!(outgoing.has_room());
        outgoing.send(1, vec![0; 4 << 20], now);
        assert!(!outgoing.has_room());
        while !outgoing.given_up() {
            now += Duration::from_secs(2);
            outgoing.overdue(now).unwrap();
        }
    }

    #[test]
    fn the_time_out_follows_the_trips() {
        let mut trip = Outgoing::new().trip;
        for _ in 0..60 {
            trip.measured(Duration::from_millis(20));
        }
        assert!(trip.timeout < Duration::from_millis(40), "{trip:?}");
        for _ in 0..60 {
            trip.measured(Duration::from_secs(5));
        }
        assert_eq!(trip.timeout, Duration::from_secs(1));
    }
}
