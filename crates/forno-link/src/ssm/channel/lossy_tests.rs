//! Both ends over a line that loses, doubles, delays and reorders, and closes now
//! and then, in virtual time: both streams arrive whole and in order, and never
//! more than the window is on its way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// An agent as Amazon's is: it acknowledges a message once, repeats only its
/// oldest, every so often, and knows no window.
#[derive(Default)]
struct Agent {
    to_send: VecDeque<u8>,
    next: i64,
    unacknowledged: VecDeque<(i64, Bytes, Instant)>,
    expected: i64,
    early: BTreeMap<i64, Message>,
    received: Vec<u8>,
    shaken: bool,
    out: Vec<Bytes>,
}

impl Agent {
    fn send(&mut self, payload_type: PayloadType, payload: Bytes, now: Instant) {
        let frame = Message {
            kind: MessageType::Output,
            created: 1,
            sequence: self.next,
            flags: 0,
            id: Uuid::nil(),
            payload_type,
            payload,
        }
        .encode();
        self.unacknowledged
            .push_back((self.next, frame.clone(), now));
        self.next += 1;
        self.out.push(frame);
    }

    fn receive(&mut self, frame: &Bytes, now: Instant) {
        let message = Message::decode(frame).unwrap();
        if message.kind == MessageType::Acknowledge {
            let ack: Acknowledgement = serde_json::from_slice(&message.payload).unwrap();
            let sequence = ack.acknowledged_message_sequence_number;
            self.unacknowledged.retain(|(n, ..)| *n != sequence);
            return;
        }
        if message.sequence < self.expected {
            return;
        }
        self.out.push(
            Message {
                kind: MessageType::Acknowledge,
                sequence: 0,
                flags: 3,
                payload: to_json(&Acknowledgement::of(&message)).into(),
                ..message.clone()
            }
            .encode(),
        );
        self.early.insert(message.sequence, message);
        while let Some(message) = self.early.remove(&self.expected) {
            self.expected += 1;
            match message.payload_type {
                PayloadType::HandshakeResponse => {
                    self.shaken = true;
                    self.send(
                        PayloadType::HandshakeComplete,
                        Bytes::from_static(b"{}"),
                        now,
                    );
                }
                PayloadType::Output => self.received.extend_from_slice(&message.payload),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Every so often.
    fn tick(&mut self, now: Instant) {
        if self.shaken {
            for _ in 0..20 {
                let length = self.to_send.len().min(1024);
                if length > 0 {
                    let bytes: Vec<u8> = self.to_send.drain(..length).collect();
                    self.send(PayloadType::Output, bytes.into(), now);
                }
            }
        }
        if let Some((_, frame, sent)) = self.unacknowledged.front_mut()
            && now - *sent >= 200 * MS
        {
            *sent = now;
            self.out.push(frame.clone());
        }
    }
}

#[derive(Clone, Debug)]
struct Line {
    loss: f64,
    double: f64,
    delay: u32,
    jitter: u32,
    /// How often it closes.
    closes: usize,
}

/// When, in which order, to the agent or not, what.
type Flight = Reverse<(Instant, u64, bool, Bytes)>;

struct World {
    random: StdRng,
    line: Line,
    now: Instant,
    count: u64,
    flying: BinaryHeap<Flight>,
}

impl World {
    fn throw(&mut self, to_agent: bool, frame: &Bytes) {
        if self.random.random_bool(self.line.loss) {
            return;
        }
        let copies = 1 + usize::from(self.random.random_bool(self.line.double));
        for _ in 0..copies {
            let wait = self.line.delay + self.random.random_range(0..=self.line.jitter);
            self.count += 1;
            let at = self.now + wait * MS;
            self.flying
                .push(Reverse((at, self.count, to_agent, frame.clone())));
        }
    }

    fn due(&mut self) -> Option<(bool, Bytes)> {
        let due = self.flying.peek().is_some_and(|f| f.0.0 <= self.now);
        let flight = if due { self.flying.pop() } else { None };
        flight.map(|Reverse((_, _, to_agent, frame))| (to_agent, frame))
    }
}

fn bytes(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes[..]);
    bytes
}

fn play(seed: u64, line: Line, up: usize, down: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let upload = bytes(&mut random, up);
    let download = bytes(&mut random, down);
    let now = Instant::now();
    let closes = line.closes;
    let mut world = World {
        random,
        line,
        now,
        count: 0,
        flying: BinaryHeap::new(),
    };
    let settings = Settings {
        window: 64,
        open: Duration::from_hours(1),
        ..Settings::default()
    };
    let mut machine = Machine::new(&Purpose::Port(22), settings, now, SystemTime::UNIX_EPOCH);
    let token = SecretString::from("t");
    machine.connected(&token);
    let mut agent = Agent {
        to_send: download.iter().copied().collect(),
        ..Agent::default()
    };
    agent.send(
        PayloadType::HandshakeRequest,
        Bytes::from_static(b"{}"),
        now,
    );
    let mut agent_tick = now;
    let mut closings: Vec<Instant> = (0..closes)
        .map(|_| now + world.random.random_range(0..5000) * MS)
        .collect();
    closings.sort();
    let mut back = None;
    let (mut written, mut received) = (0, Vec::new());
    let limit = now + Duration::from_hours(2);
    loop {
        let now = world.now;
        if closings.first().is_some_and(|&at| at <= now) {
            closings.remove(0);
            machine.disconnected();
            world.flying.clear();
            back = Some(now + world.random.random_range(1..3000) * MS);
        }
        if back.is_some_and(|at| at <= now) {
            back = None;
            machine.connected(&token);
        }
        while let Some((to_agent, frame)) = world.due() {
            if to_agent {
                agent.receive(&frame, now);
            } else {
                machine.receive(&frame, now).unwrap();
            }
        }
        if agent_tick <= now {
            agent.tick(now);
            agent_tick = now + 20 * MS;
        }
        machine.tick(now);
        assert_eq!(machine.end(), None);
        while let Some(bytes) = machine.read() {
            received.extend_from_slice(&bytes);
        }
        loop {
            let most = world.random.random_range(1..20_000);
            let rest = &upload[written..];
            let length = machine.write(&rest[..rest.len().min(most)], now);
            written += length;
            if length == 0 {
                break;
            }
            let (messages, bytes) = machine.in_flight();
            assert!(messages <= machine.window() && bytes <= machine.window() * 8192);
        }
        // Some without content may be there to overtake the others.
        assert!(machine.in_flight().0 <= 64 + 16);
        while let Some(frame) = machine.frame(now) {
            if let Frame::Binary(frame) = frame {
                world.throw(true, &frame);
            }
        }
        for frame in std::mem::take(&mut agent.out) {
            // Nobody is there.
            if back.is_none() {
                world.throw(false, &frame);
            }
        }
        if agent.received.len() == up
            && received.len() == down
            && machine.is_settled()
            && back.is_none()
        {
            break;
        }
        let next = [
            world.flying.peek().map(|f| f.0.0),
            machine.deadline(),
            closings.first().copied(),
            back,
            Some(agent_tick),
        ];
        world.now = next.into_iter().flatten().min().unwrap().max(now);
        assert!(world.now < limit, "{written} of {up} written");
    }
    assert_eq!(machine.held(), 0);
    assert!(agent.received == upload && received == download);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn both_streams_arrive_whole_and_in_order(
        seed in any::<u64>(),
        loss in 0..12_u32,
        double in 0..20_u32,
        delay in 1..150_u32,
        jitter in 0..80_u32,
        closes in 0..4_usize,
        up in 0..200_000_usize,
        down in 0..60_000_usize,
    ) {
        let line = Line {
            loss: f64::from(loss) / 100.0,
            double: f64::from(double) / 100.0,
            delay,
            jitter,
            closes,
        };
        play(seed, line, up, down);
    }
}

/// A line that is good but for its end every now and then.
#[test]
fn closings_alone() {
    for seed in 0..6 {
        let line = Line {
            loss: 0.0,
            double: 0.0,
            delay: 30,
            jitter: 0,
            closes: 6,
        };
        play(seed, line, 400_000, 40_000);
    }
}
