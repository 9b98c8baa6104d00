//! Puts what arrives in any order back into the order in which it was sent.

use std::collections::BTreeMap;

use super::codec::Message;

/// The most that waits for what is missing before it.
const MOST_MESSAGES: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Incoming {
    expected: i64,
    early: BTreeMap<i64, Message>,
    bytes: usize,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next one. More may follow from [`Incoming::next_ready`].
    Next(Message),
    /// It waits for others.
    Early,
    /// It was there before.
    Again,
    /// There is no room; it must be sent again.
    Refused,
}

impl Incoming {
    /// The number of the message whose turn is next.
    pub(super) fn expected(&self) -> i64 {
        self.expected
    }

    pub(super) fn arrive(&mut self, message: Message) -> Arrival {
        let sequence = message.sequence;
        if sequence == self.expected {
            self.expected += 1;
            return Arrival::Next(message);
        }
        if sequence < self.expected || self.early.contains_key(&sequence) {
            return Arrival::Again;
        }
        let size = message.payload.len();
        if self.early.len() >= MOST_MESSAGES || self.bytes + size > MOST_BYTES {
            return Arrival::Refused;
        }
        self.bytes += size;
        self.early.insert(sequence, message);
        Arrival::Early
    }

    /// The next of those that waited, where it is its turn.
    pub(super) fn next_ready(&mut self) -> Option<Message> {
        let message = self.early.remove(&self.expected)?;
        self.bytes -= message.payload.len();
        self.expected += 1;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbered(sequence: i64) -> Message {
        Message::output(sequence, 1, sequence.to_be_bytes().to_vec())
    }

    #[test]
    fn what_cannot_wait_is_refused() {
        let mut incoming = Incoming::default();
        let most = i64::try_from(MOST_MESSAGES).unwrap();
        for sequence in 1..=most {
            assert_eq!(incoming.arrive(numbered(sequence)), Arrival::Early);
        }
        assert_eq!(incoming.arrive(numbered(most + 1)), Arrival::Refused);
        assert_eq!(incoming.arrive(numbered(1)), Arrival::Again);
        assert_eq!(incoming.arrive(numbered(-1)), Arrival::Again);
        let big = Message::output(20_000, 1, vec![0; MOST_BYTES]);
        assert_eq!(Incoming::default().arrive(big.clone()), Arrival::Early);
        assert_eq!(incoming.arrive(big), Arrival::Refused);
    }

    proptest! {
        /// However messages are mixed up and repeated, each comes out once and
        /// in order.
        #[test]
        fn order_is_restored(order in Just((0..60_i64).collect::<Vec<_>>()).prop_shuffle(), again in prop::collection::vec(0..60_usize, 0..40)) {
            let mut arriving = Vec::new();
            for (place, sequence) in order.iter().enumerate() {
                arriving.push(*sequence);
                arriving.extend(again.iter().filter(|index| **index == place).map(|_| order[0]));
            }
            let mut incoming = Incoming::default();
            let mut out = Vec::new();
            for sequence in arriving {
                if let Arrival::Next(message) = incoming.arrive(numbered(sequence)) {
                    out.push(message.sequence);
                    while let Some(message) = incoming.next_ready() {
                        out.push(message.sequence);
                    }
                }
            }
            prop_assert_eq!(out, (0..60).collect::<Vec<_>>());
            prop_assert_eq!(incoming.bytes, 0);
        }
    }
}
