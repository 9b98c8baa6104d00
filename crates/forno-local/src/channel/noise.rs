//! What a plan of faults does to the messages of one connection. Chance begins
//! with a number that the plan says, so a run can be had again.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use crate::faults::{ChannelFault, Direction};

/// How long a message waits for one that it could come after.
const HELD: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Noise {
    opened: Instant,
    layers: Vec<Layer>,
}

/// One entry of the plan.
#[derive(Debug)]
struct Layer {
    fault: ChannelFault,
    chance: StdRng,
    messages: u64,
    bytes: u64,
    to_client: Option<Held>,
    to_agent: Option<Held>,
}

#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    until: Instant,
}

impl Noise {
    pub(super) fn new(faults: Vec<ChannelFault>, now: Instant) -> Self {
        let layer = |fault: ChannelFault| Layer {
            chance: StdRng::seed_from_u64(fault.seed),
            fault,
            messages: 0,
            bytes: 0,
            to_client: None,
            to_agent: None,
        };
        Self {
            opened: now,
            layers: faults.into_iter().map(layer).collect(),
        }
    }

    /// What comes out where a message goes in.
    pub(super) fn pass(&mut self, way: Direction, frame: Vec<u8>, now: Instant) -> Vec<Vec<u8>> {
        let mut frames = vec![frame];
        for layer in &mut self.layers {
            frames = frames
                .into_iter()
                .flat_map(|frame| layer.pass(way, frame, now))
                .collect();
        }
        frames
    }

    /// The messages for which nothing came that they could come after.
    pub(super) fn released(&mut self, way: Direction, now: Instant) -> Vec<Vec<u8>> {
        self.layers
            .iter_mut()
            .filter_map(|layer| {
                let held = layer.held(way).take_if(|held| held.until <= now)?;
                Some(held.frame)
            })
            .collect()
    }

    /// Whether the gateway closes the connection now.
    pub(super) fn closes(&self, now: Instant) -> bool {
        self.layers.iter().any(|layer| {
            let fault = &layer.fault;
            fault
                .close_after
                .is_some_and(|span| now >= self.opened + span)
                || fault
                    .close_after_messages
                    .is_some_and(|most| layer.messages >= most)
                || fault
                    .close_after_bytes
                    .is_some_and(|most| layer.bytes >= most)
        })
    }

    /// Whether nothing passes this way now.
    pub(super) fn halts(&self, way: Direction, now: Instant) -> bool {
        self.pauses(now)
            || self.layers.iter().any(|layer| {
                layer.concerns(way) && self.within(&layer.fault, layer.fault.stall, now)
            })
    }

    /// Whether the client is to believe that the agent is away.
    pub(super) fn pauses(&self, now: Instant) -> bool {
        self.layers
            .iter()
            .any(|layer| self.within(&layer.fault, layer.fault.pause, now))
    }

    fn within(&self, fault: &ChannelFault, span: Duration, now: Instant) -> bool {
        let begins = self.opened + fault.after;
        now >= begins && now < begins + span
    }

    /// When something changes without a message.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let times = self.layers.iter().flat_map(|layer| {
            let fault = &layer.fault;
            let begins = self.opened + fault.after;
            let held = [&layer.to_client, &layer.to_agent];
            let held = held.map(|held| held.as_ref().map(|held| held.until));
            [
                held[0],
                held[1],
                fault.close_after.map(|span| self.opened + span),
                Some(begins),
                Some(begins + fault.stall),
                Some(begins + fault.pause),
            ]
        });
        times.flatten().filter(|time| *time > now).min()
    }
}

impl Layer {
    fn concerns(&self, way: Direction) -> bool {
        self.fault.direction.is_none_or(|only| only == way)
    }

    fn held(&mut self, way: Direction) -> &mut Option<Held> {
        match way {
            Direction::ToClient => &mut self.to_client,
            Direction::ToAgent => &mut self.to_agent,
        }
    }

    fn pass(&mut self, way: Direction, frame: Vec<u8>, now: Instant) -> Vec<Vec<u8>> {
        if !self.concerns(way) {
            return vec![frame];
        }
        self.messages += 1;
        self.bytes += u64::try_from(frame.len()).unwrap_or(0);
        // All three are drawn for each message, so that one rate does not
        // change what another does.
        let [drop, duplicate, reorder] =
            [self.fault.drop, self.fault.duplicate, self.fault.reorder]
                .map(|rate| self.chance.random_range(0..1000) < rate);
        if drop {
            return Vec::new();
        }
        let held = self.held(way);
        let before = held.take();
        if reorder && before.is_none() {
            *held = Some(Held {
                frame,
                until: now + HELD,
            });
            return Vec::new();
        }
        let mut out = vec![frame];
        if duplicate {
            out.push(out[0].clone());
        }
        out.extend(before.map(|held| held.frame));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Direction = Direction::ToClient;

    fn numbered(noise: &mut Noise, count: u32) -> Vec<u32> {
        let now = Instant::now();
        let mut out: Vec<Vec<u8>> = (0..count)
            .flat_map(|number| noise.pass(WAY, number.to_be_bytes().to_vec(), now))
            .collect();
        assert_eq!(noise.released(WAY, now), Vec::<Vec<u8>>::new());
        out.extend(noise.released(WAY, now + HELD));
        out.into_iter()
            .map(|frame| u32::from_be_bytes(frame.try_into().unwrap()))
            .collect()
    }

    fn noise(fault: ChannelFault) -> Noise {
        Noise::new(vec![fault], Instant::now())
    }

    #[test]
    fn without_faults_everything_passes() {
        let mut quiet = Noise::new(Vec::new(), Instant::now());
        assert_eq!(numbered(&mut quiet, 3), [0, 1, 2]);
        assert_eq!(quiet.next_change(Instant::now()), None);
        let mut other_way = noise(ChannelFault {
            drop: 1000,
            direction: Some(Direction::ToAgent),
            ..ChannelFault::default()
        });
        assert_eq!(numbered(&mut other_way, 3), [0, 1, 2]);
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let lossy = |seed| {
            let fault = ChannelFault {
                drop: 100,
                duplicate: 100,
                reorder: 100,
                seed,
                ..ChannelFault::default()
            };
            numbered(&mut noise(fault), 1000)
        };
        let one = lossy(1);
        assert_eq!(one, lossy(1));
        assert_ne!(one, lossy(2));
        let mut kinds = one.clone();
        kinds.sort_unstable();
        kinds.dedup();
        assert!((850..950).contains(&kinds.len()), "{}", kinds.len());
        assert!(one.len() > kinds.len() && !one.is_sorted());
    }

    #[test]
    fn all_messages_in_pairs_are_swapped() {
        let fault = ChannelFault {
            reorder: 1000,
            ..ChannelFault::default()
        };
        assert_eq!(numbered(&mut noise(fault), 5), [1, 0, 3, 2, 4]);
    }

    #[test]
    fn closes_and_halts_at_their_time() {
        let second = Duration::from_secs(1);
        let mut noise = noise(ChannelFault {
            close_after: Some(10 * second),
            close_after_messages: Some(2),
            stall: second,
            pause: 2 * second,
            after: second,
            ..ChannelFault::default()
        });
        let at = noise.opened;
        let seen =
            |noise: &Noise, span: Duration| (noise.halts(WAY, at + span), noise.pauses(at + span));
        assert_eq!(seen(&noise, Duration::ZERO), (false, false));
        assert_eq!(seen(&noise, second * 3 / 2), (true, true));
        assert_eq!(seen(&noise, second * 5 / 2), (true, true));
        assert_eq!(seen(&noise, second * 3), (false, false));
        assert_eq!(noise.next_change(at), Some(at + second));
        assert_eq!(noise.next_change(at + 4 * second), Some(at + 10 * second));
        assert!(!noise.closes(at) && noise.closes(at + 10 * second));
        noise.pass(WAY, vec![0], at);
        noise.pass(Direction::ToAgent, vec![0], at);
        assert!(noise.closes(at));
    }
}
