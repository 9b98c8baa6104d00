//! What a run has said so far, counted byte for byte, whichever connection
//! brought it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use forno_events::Stream;
use forno_link::{Exit, Sink};
use tokio::sync::Notify;

use super::marks::{Marks, Piece};
use crate::output::Tap;

/// So much is taken in before it is worth remembering at once.
const MUCH: u64 = 4 << 20;

/// What is kept of words that are not the run's.
const NOISE: usize = 2048;

/// Shared by the one who waits for a run and the sink of its connection.
#[derive(Debug, Default)]
pub(super) struct Told {
    seen: Mutex<Seen>,
    /// Something to act on.
    pub(super) news: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    stdout: Side,
    stderr: Side,
    fresh: u64,
    /// The boot in which the run was found last.
    boot: Option<String>,
    begun: bool,
    gone: Option<String>,
    end: Option<End>,
    missed: u64,
    noise: Vec<u8>,
}

#[derive(Debug, Default)]
struct Side {
    received: u64,
    phase: Phase,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Before,
    Within,
    After,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// None: with the machine, which is going down.
    pub(super) exit: Option<Exit>,
    /// Bytes of output that there was no room for.
    pub(super) dropped: u64,
}

impl Told {
    pub(super) fn from_offsets(stdout: u64, stderr: u64) -> Self {
        let told = Self::default();
        {
            let mut seen = told.lock();
            seen.stdout.received = stdout;
            seen.stderr.received = stderr;
        }
        told
    }

    /// For a connection that begins.
    pub(super) fn sink(self: &Arc<Self>, tap: &Tap, nonce: &str, starts: bool) -> Carrier {
        let mut seen = self.lock();
        seen.stdout.phase = Phase::Before;
        seen.stderr.phase = Phase::Before;
        seen.gone = None;
        seen.end = None;
        seen.noise.clear();
        Carrier {
            told: Arc::clone(self),
            tap: tap.clone(),
            stdout: Marks::new(nonce),
            stderr: Marks::new(nonce),
            starts,
        }
    }

    pub(super) fn offsets(&self) -> (u64, u64) {
        let seen = self.lock();
        (seen.stdout.received, seen.stderr.received)
    }

    pub(super) fn begun(&self) -> bool {
        self.lock().begun
    }

    /// When both streams are at their end.
    pub(super) fn end(&self) -> Option<End> {
        let seen = self.lock();
        let over = seen.stdout.phase == Phase::After && seen.stderr.phase == Phase::After;
        seen.end.clone().filter(|_| over)
    }

    /// There is no such run: whether the machine has restarted since, as far as
    /// that is known.
    pub(super) fn gone(&self) -> Option<bool> {
        let seen = self.lock();
        let now = seen.gone.as_ref()?;
        Some(seen.boot.as_ref().is_some_and(|before| before != now))
    }

    pub(super) fn take_missed(&self) -> u64 {
        std::mem::take(&mut self.lock().missed)
    }

    pub(super) fn noise(&self) -> String {
        String::from_utf8_lossy(&self.lock().noise)
            .trim()
            .to_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn side(&mut self, stream: Stream) -> &mut Side {
        match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Console => &mut self.stdout,
        }
    }

    fn mark(&mut self, stream: Stream, text: &str) {
        let mut words = text.split(' ');
        match (words.next(), words.next()) {
            (Some("at"), Some(offset)) => {
                let offset: u64 = offset.parse().unwrap_or(0);
                let side = self.side(stream);
                side.phase = Phase::Within;
                let missed = offset.saturating_sub(side.received);
                side.received += missed;
                self.missed += missed;
                self.begun = true;
                if let Some(boot) = words.next().filter(|boot| !boot.is_empty()) {
                    self.boot = Some(boot.to_owned());
                }
            }
            (Some("gone"), boot) => self.gone = Some(boot.unwrap_or_default().to_owned()),
            (Some("end"), code) => {
                self.side(stream).phase = Phase::After;
                if let Some(code) = code {
                    let dropped = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                    let exit = match code {
                        "stopping" => None,
                        // Nothing else ends what runs the script before it has said how.
                        "killed" => Some(Exit::Signal("KILL".into())),
                        code => Some(Exit::Code(code.parse().unwrap_or(255))),
                    };
                    self.end = Some(End { exit, dropped });
                }
            }
            _ => {}
        }
    }
}

/// The sink of one connection.
#[derive(Debug)]
pub(super) struct Carrier {
    told: Arc<Told>,
    tap: Tap,
    stdout: Marks,
    stderr: Marks,
    starts: bool,
}

#[async_trait]
impl Sink for Carrier {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> std::io::Result<()> {
        let marks = match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Console => &mut self.stdout,
        };
        for piece in marks.feed(&chunk) {
            let mut seen = self.told.lock();
            match piece {
                Piece::Mark(text) => {
                    seen.mark(stream, &text);
                    self.told.news.notify_one();
                }
                Piece::Bytes(bytes) if seen.side(stream).phase == Phase::Within => {
                    let length = bytes.len() as u64;
                    seen.side(stream).received += length;
                    seen.fresh += length;
                    if seen.fresh >= MUCH {
                        seen.fresh = 0;
                        self.told.news.notify_one();
                    }
                    drop(seen);
                    self.tap.push(stream, &bytes);
                }
                // Of sudo, or of a shell that finds no room: shown once.
                Piece::Bytes(bytes) => {
                    let room = NOISE.saturating_sub(seen.noise.len()).min(bytes.len());
                    seen.noise.extend_from_slice(&bytes[..room]);
                    let first = self.starts && seen.side(stream).phase == Phase::Before;
                    drop(seen);
                    if first {
                        self.tap.push(stream, &bytes);
                    }
                }
            }
        }
        Ok(())
    }
}
