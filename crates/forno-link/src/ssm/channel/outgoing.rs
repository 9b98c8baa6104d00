//! What was sent and is not acknowledged yet: it is sent again until it is.
//!
//! Three things make a message go again: time (only the oldest, as the services'
//! own ends do), a new connection (all), and being overtaken: when what was sent
//! after it is acknowledged three times, it was most likely lost.
//!
//! The agent acknowledges a message once. An acknowledgement that is lost with a
//! connection never comes again, however often the message is repeated. A
//! message that was repeated many times, and overtaken each time, has therefore
//! arrived. Were that wrong, the agent would wait for it forever and the session
//! would fail; the bytes would not be wrong.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::rtt::Rtt;
use super::window::Window;

/// As TCP.
const OVERTAKEN: u32 = 3;

/// So many times repeated and overtaken is arrived.
const ARRIVED: u32 = 8;

/// Messages without content that are sent so that something can overtake.
const PROBES: usize = 16;

#[derive(Debug)]
pub(super) struct Outgoing {
    next: i64,
    unacknowledged: VecDeque<Sent>,
    bytes: usize,
    /// To be put on the connection, by their numbers.
    queue: VecDeque<i64>,
    rtt: Rtt,
    window: Window,
    chunk: usize,
    /// Counts what was put on any connection.
    clock: u64,
    most_repeats: u32,
}

#[derive(Debug)]
struct Sent {
    sequence: i64,
    frame: Bytes,
    length: usize,
    probe: bool,
    queued: bool,
    first: Option<Put>,
    /// On this connection.
    last: Option<Put>,
    repeats: u32,
    /// Since it was last put.
    overtaken: u32,
    proofs: u32,
}

/// When, and after how many others.
#[derive(Clone, Copy, Debug)]
struct Put {
    at: Instant,
    order: u64,
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    /// There is something to put.
    Again,
    /// Likewise, and a message without content is wanted after it.
    Probe,
    /// It was repeated too often.
    Exhausted,
}

impl Outgoing {
    pub(super) fn new(chunk: usize, window: usize, most_repeats: u32) -> Self {
        Self {
            next: 0,
            unacknowledged: VecDeque::new(),
            bytes: 0,
            queue: VecDeque::new(),
            rtt: Rtt::new(),
            window: Window::new(window),
            chunk,
            clock: 0,
            most_repeats,
        }
    }

    /// The number of the message that is pushed next.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// How many bytes the next message may carry.
    pub(super) fn room(&self) -> usize {
        if self.unacknowledged.len() >= self.window.size() {
            return 0;
        }
        let most = self.window.size() * self.chunk;
        most.saturating_sub(self.bytes).min(self.chunk)
    }

    pub(super) fn push(&mut self, frame: Bytes, length: usize, probe: bool) {
        self.unacknowledged.push_back(Sent {
            sequence: self.next,
            frame,
            length,
            probe,
            queued: true,
            first: None,
            last: None,
            repeats: 0,
            overtaken: 0,
            proofs: 0,
        });
        self.queue.push_back(self.next);
        self.bytes += length;
        self.next += 1;
    }

    /// The next frame to be put on the connection.
    pub(super) fn take(&mut self, now: Instant) -> Option<Bytes> {
        while let Some(sequence) = self.queue.pop_front() {
            let Some(at) = self.find(sequence) else {
                continue;
            };
            self.clock += 1;
            let put = Put {
                at: now,
                order: self.clock,
            };
            let sent = &mut self.unacknowledged[at];
            if sent.first.is_none() {
                sent.first = Some(put);
            } else {
                sent.repeats += 1;
            }
            sent.last = Some(put);
            sent.overtaken = 0;
            sent.queued = false;
            return Some(sent.frame.clone());
        }
        None
    }

    fn find(&self, sequence: i64) -> Option<usize> {
        self.unacknowledged
            .binary_search_by_key(&sequence, |sent| sent.sequence)
            .ok()
    }

    fn remove(&mut self, at: usize) -> Option<Sent> {
        let sent = self.unacknowledged.remove(at)?;
        self.bytes -= sent.length;
        Some(sent)
    }

    pub(super) fn acknowledge(&mut self, sequence: i64, now: Instant) {
        let Some(at) = self.find(sequence) else {
            return;
        };
        let size = self.window.size();
        let full = self.unacknowledged.len() * 2 >= size || self.bytes * 2 >= size * self.chunk;
        // Of what was never sent there can be no acknowledgement.
        let Some(first) = self.unacknowledged[at].first else {
            return;
        };
        let Some(sent) = self.remove(at) else { return };
        if sent.repeats == 0 {
            let taken = now.saturating_duration_since(first.at);
            self.rtt.sample(taken);
            self.window.measured(&self.rtt, taken, sequence, self.next);
        }
        self.window.acknowledged(full);
        self.overtake(first.order);
    }

    /// What was put before that, and is on its way, was overtaken.
    fn overtake(&mut self, order: u64) {
        for sent in &mut self.unacknowledged {
            if !sent.queued && sent.last.is_some_and(|last| last.order < order) {
                sent.overtaken += 1;
            }
        }
        self.repeat(|sent| sent.overtaken >= OVERTAKEN);
    }

    /// Queues those once more, and forgets those that have certainly arrived.
    fn repeat(&mut self, which: impl Fn(&Sent) -> bool) {
        let mut arrived = false;
        for sent in &mut self.unacknowledged {
            if sent.queued || sent.last.is_none() || !which(sent) {
                continue;
            }
            if sent.overtaken > 0 && sent.repeats > 0 {
                sent.proofs += 1;
            }
            if sent.proofs >= ARRIVED {
                arrived = true;
                continue;
            }
            sent.queued = true;
            self.queue.push_back(sent.sequence);
            self.window.congested(sent.sequence, self.next);
        }
        if arrived {
            tracing::debug!("messages of a data channel arrived, but their receipt was lost");
            self.unacknowledged.retain(|sent| sent.proofs < ARRIVED);
            self.bytes = self.unacknowledged.iter().map(|sent| sent.length).sum();
        }
    }

    /// When the oldest is due again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.unacknowledged.front().filter(|sent| !sent.queued)?;
        Some(oldest.last?.at + self.rtt.timeout())
    }

    pub(super) fn tick(&mut self, now: Instant) -> Tick {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Tick::Nothing;
        }
        let Some(oldest) = self.unacknowledged.front() else {
            return Tick::Nothing;
        };
        if oldest.repeats >= self.most_repeats {
            return Tick::Exhausted;
        }
        let sequence = oldest.sequence;
        // Nothing that could overtake it is on its way.
        let order = oldest.last.map_or(0, |last| last.order);
        let alone = self
            .unacknowledged
            .iter()
            .skip(1)
            .all(|sent| !sent.queued && sent.last.is_none_or(|last| last.order < order));
        let probes = self.unacknowledged.iter().filter(|sent| sent.probe).count();
        let probe = alone && oldest.repeats >= OVERTAKEN && probes < PROBES;
        self.rtt.back_off();
        self.repeat(|sent| sent.sequence == sequence || sent.overtaken > 0);
        if probe { Tick::Probe } else { Tick::Again }
    }

    /// What was on its way may be lost.
    pub(super) fn disconnected(&mut self) {
        self.queue.clear();
        for sent in &mut self.unacknowledged {
            sent.queued = false;
            sent.last = None;
            sent.overtaken = 0;
        }
    }

    /// Everything goes again, in order, over another way of another length.
    pub(super) fn connected(&mut self) {
        self.rtt = Rtt::new();
        self.queue.clear();
        for sent in &mut self.unacknowledged {
            sent.queued = true;
            self.queue.push_back(sent.sequence);
        }
    }

    /// Time in which no acknowledgement could be seen does not count.
    pub(super) fn waited(&mut self, time: Duration) {
        for sent in &mut self.unacknowledged {
            for put in [&mut sent.first, &mut sent.last].into_iter().flatten() {
                put.at += time;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    pub(super) fn in_flight(&self) -> (usize, usize) {
        (self.unacknowledged.len(), self.bytes)
    }

    pub(super) fn window(&self) -> usize {
        self.window.size()
    }
}
