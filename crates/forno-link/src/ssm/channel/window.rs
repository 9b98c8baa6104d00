//! How many messages may be on their way: little at first, more with every
//! acknowledgement, half as many when one was lost or the way has filled up.
//!
//! There is no other flow control: a service that is overrun ends the session.

use super::rtt::Rtt;

const FIRST: usize = 16;
const LEAST: usize = 4;

#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    /// Up to here it doubles with every round, above it grows by one.
    threshold: usize,
    /// Acknowledgements since it last grew by one.
    credit: usize,
    most: usize,
    /// Messages from this one on were sent since it last became smaller.
    since: i64,
}

impl Window {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(LEAST);
        Self {
            size: FIRST.min(most),
            threshold: most,
            credit: 0,
            most,
            since: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// `full`: whether it was what held the sender back.
    pub(super) fn acknowledged(&mut self, full: bool) {
        if !full || self.size >= self.most {
            return;
        }
        self.credit += 1;
        if self.size < self.threshold || self.credit >= self.size {
            self.credit = 0;
            self.size += 1;
        }
    }

    /// `sequence` was lost or slow, when `next` was to be sent.
    pub(super) fn congested(&mut self, sequence: i64, next: i64) {
        // What was on its way at the last reduction says nothing new.
        if sequence < self.since {
            return;
        }
        self.since = next;
        self.size = (self.size / 2).max(LEAST);
        self.threshold = self.size;
        self.credit = 0;
    }

    /// A message that was sent once was acknowledged.
    pub(super) fn measured(&mut self, rtt: &Rtt, taken: std::time::Duration, seq: i64, next: i64) {
        if rtt.is_congested(taken) {
            self.congested(seq, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_the_cap_and_no_further() {
        let mut window = Window::new(256);
        for round in [32, 64, 128, 256, 256] {
            for _ in 0..window.size() {
                window.acknowledged(true);
            }
            assert_eq!(window.size(), round);
        }
    }

    #[test]
    fn a_sender_with_little_to_say_earns_nothing() {
        let mut window = Window::new(256);
        for _ in 0..1000 {
            window.acknowledged(false);
        }
        assert_eq!(window.size(), FIRST);
    }

    #[test]
    fn it_halves_once_per_round_and_then_grows_by_one() {
        let mut window = Window::new(256);
        for _ in 0..48 {
            window.acknowledged(true);
        }
        assert_eq!(window.size(), 64);
        window.congested(10, 100);
        window.congested(99, 101);
        assert_eq!(window.size(), 32);
        for _ in 0..32 {
            window.acknowledged(true);
        }
        assert_eq!(window.size(), 33);
        for sequence in 100..200 {
            window.congested(sequence, sequence + 1);
        }
        assert_eq!(window.size(), LEAST);
    }
}
