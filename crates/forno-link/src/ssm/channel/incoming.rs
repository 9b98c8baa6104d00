//! What arrives, in order: what came too early is kept, up to a bound.

use std::collections::BTreeMap;

use super::frame::Message;

/// As the service's own client.
const MOST_MESSAGES: usize = 10_000;
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Incoming {
    expected: i64,
    waiting: BTreeMap<i64, Message>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Taken,
    /// It was here before.
    Known,
    /// There is no room; it will be sent again.
    Refused,
}

impl Incoming {
    pub(super) fn offer(&mut self, message: Message) -> Offer {
        let sequence = message.sequence;
        if sequence < self.expected || self.waiting.contains_key(&sequence) {
            return Offer::Known;
        }
        let length = message.payload.len();
        let room = self.waiting.len() < MOST_MESSAGES && self.bytes + length <= MOST_BYTES;
        // The one that is waited for makes room for others.
        if !room && sequence != self.expected {
            return Offer::Refused;
        }
        self.bytes += length;
        self.waiting.insert(sequence, message);
        Offer::Taken
    }

    pub(super) fn next(&mut self) -> Option<Message> {
        let message = self.waiting.remove(&self.expected)?;
        self.bytes -= message.payload.len();
        self.expected = self.expected.saturating_add(1);
        Some(message)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::ssm::channel::frame::{MessageType, PayloadType};

    fn message(sequence: i64, length: usize) -> Message {
        Message {
            kind: MessageType::Output,
            created: 0,
            sequence,
            flags: 0,
            id: Uuid::nil(),
            payload_type: PayloadType::Output,
            payload: Bytes::from(vec![0; length]),
        }
    }

    #[test]
    fn the_order_is_restored_and_nothing_comes_twice() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.offer(message(2, 1)), Offer::Taken);
        assert_eq!(incoming.offer(message(2, 1)), Offer::Known);
        assert!(incoming.next().is_none());
        assert_eq!(incoming.offer(message(0, 1)), Offer::Taken);
        assert_eq!(incoming.offer(message(1, 1)), Offer::Taken);
        let order: Vec<i64> = std::iter::from_fn(|| incoming.next())
            .map(|m| m.sequence)
            .collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(incoming.offer(message(1, 1)), Offer::Known);
        assert_eq!(incoming.offer(message(-1, 1)), Offer::Known);
        assert_eq!(incoming.bytes(), 0);
    }

    #[test]
    fn what_comes_too_early_is_bounded_in_number_and_bytes() {
        let mut incoming = Incoming::default();
        for sequence in 1..=10_000 {
            assert_eq!(incoming.offer(message(sequence, 0)), Offer::Taken);
        }
        assert_eq!(incoming.offer(message(10_001, 0)), Offer::Refused);
        assert_eq!(incoming.offer(message(0, 0)), Offer::Taken);
        assert_eq!(std::iter::from_fn(|| incoming.next()).count(), 10_001);

        let mut incoming = Incoming::default();
        let taken = (1..=100)
            .filter(|&sequence| incoming.offer(message(sequence, 100_000)) == Offer::Taken)
            .count();
        assert_eq!(taken, 41);
        assert!(incoming.bytes() <= MOST_BYTES);
        assert_eq!(incoming.offer(message(i64::MAX, 100_000)), Offer::Refused);
    }
}
