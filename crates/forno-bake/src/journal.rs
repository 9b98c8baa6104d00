//! Numbers, masks, records and passes on the events of one bake.
//!
//! Everybody emits into it; one lock puts the events in order. Lifecycle events
//! are written to the file before any renderer sees them and are never
//! dropped. `Progress` and `Output` are dropped for a renderer that is far
//! behind; the whole output stands in the step's own file.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use forno_events::{BakeId, Emitter, Envelope, Event, SCHEMA_VERSION, Sink};
use fs_err as fs;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::folder::BakeFolder;
use crate::mask::Masker;

/// How far a renderer may be behind before it loses output lines.
const LOSSY_BACKLOG: usize = 4096;

/// The journal of one bake; cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bake: BakeId,
    started: Instant,
    masker: Masker,
    state: Mutex<State>,
    renderers: Audience,
}

#[derive(Debug)]
struct State {
    next_index: u64,
    file: fs::File,
    /// The first failure to record; told once, the bake goes on.
    failed: bool,
}

/// Those who want to see the events of one or more bakes while they happen.
#[derive(Clone, Debug, Default)]
pub struct Audience(Arc<Mutex<Vec<Listener>>>);

#[derive(Debug)]
struct Listener {
    sender: mpsc::UnboundedSender<Envelope>,
    backlog: Arc<AtomicUsize>,
}

/// The receiving end: events in order.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Envelope>,
    backlog: Arc<AtomicUsize>,
}

impl Audience {
    pub fn join(&self) -> Events {
        let (sender, receiver) = mpsc::unbounded_channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        self.lock().push(Listener {
            sender,
            backlog: Arc::clone(&backlog),
        });
        Events { receiver, backlog }
    }

    fn tell(&self, event: &Envelope) {
        self.lock().retain(|listener| {
            let behind = listener.backlog.load(Ordering::Relaxed);
            if event.body.is_lossy() && behind > LOSSY_BACKLOG {
                return true;
            }
            listener.backlog.fetch_add(1, Ordering::Relaxed);
            listener.sender.send(event.clone()).is_ok()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// The next event; `None` when every bake is over and its journal gone.
    pub async fn next(&mut self) -> Option<Envelope> {
        let event = self.receiver.recv().await?;
        self.backlog.fetch_sub(1, Ordering::Relaxed);
        Some(event)
    }
}

impl Journal {
    pub fn open(folder: &BakeFolder, masker: Masker, renderers: Audience) -> std::io::Result<Self> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.events())?;
        Ok(Self(Arc::new(Inner {
            bake: folder.id().clone(),
            started: Instant::now(),
            masker,
            state: Mutex::new(State {
                next_index: 0,
                file,
                failed: false,
            }),
            renderers,
        })))
    }

    /// A handle for those who emit.
    pub fn emitter(&self) -> Emitter {
        Emitter::new(self.clone())
    }

    fn masked(&self, event: Event) -> Event {
        if self.0.masker.is_empty() {
            return event;
        }
        serde_json::to_value(&event)
            .map(|value| self.0.masker.mask_json(value))
            .and_then(serde_json::from_value)
            // Only an event that cannot be written as JSON comes here, and none is like that.
            .unwrap_or(Event::Unknown)
    }
}

impl Sink for Journal {
    fn emit(&self, event: Event) {
        let body = self.masked(event);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let envelope = Envelope {
            v: SCHEMA_VERSION,
            bake: self.0.bake.clone(),
            index: state.next_index,
            at: Timestamp::now(),
            elapsed_ms: u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            body,
        };
        state.next_index += 1;
        if let Err(error) = record(&mut state.file, &envelope)
            && !state.failed
        {
            state.failed = true;
            tracing::warn!(%error, "events are no longer recorded");
        }
        self.0.renderers.tell(&envelope);
    }
}

fn record(file: &mut fs::File, envelope: &Envelope) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(envelope)?;
    line.push(b'\n');
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use forno_events::{StepId, Stream};

    use super::*;
    use crate::folder::Bakes;

    #[tokio::test]
    async fn events_are_numbered_masked_and_the_same_for_all() {
        let home = tempfile::tempdir().unwrap();
        let folder = Bakes::under(home.path()).create(&BakeId::new("base")).unwrap();
        let audience = Audience::default();
        let mut events = audience.join();
        let journal = Journal::open(&folder, Masker::new(["s3cret-value"]), audience).unwrap();
        let emitter = journal.emitter();
        for line in ["one", "token s3cret-value"] {
            emitter.emit(Event::Output {
                step: StepId::new("step-01"),
                stream: Stream::Stdout,
                line: line.into(),
            });
        }
        drop((journal, emitter));
        let seen = [events.next().await.unwrap(), events.next().await.unwrap()];
        assert_eq!(seen.each_ref().map(|event| event.index), [0, 1]);
        assert_eq!(folder.read_events().unwrap(), seen);
        let text = fs::read_to_string(folder.events()).unwrap();
        assert!(text.contains("token «masked»"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[tokio::test]
    async fn a_slow_renderer_loses_output_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = Bakes::under(home.path()).create(&BakeId::new("base")).unwrap();
        let audience = Audience::default();
        let mut events = audience.join();
        let journal = Journal::open(&folder, Masker::default(), audience.clone()).unwrap();
        for line in 0..LOSSY_BACKLOG + 100 {
            journal.emit(Event::Output {
                step: StepId::new("step-01"),
                stream: Stream::Stdout,
                line: line.to_string(),
            });
        }
        journal.emit(Event::CancelRequested { reason: "enough".into() });
        drop((journal, audience));
        let mut last = None;
        let mut count = 0;
        while let Some(event) = events.next().await {
            count += 1;
            last = Some(event.body);
        }
        assert_eq!(last, Some(Event::CancelRequested { reason: "enough".into() }));
        assert!(count < LOSSY_BACKLOG + 100);
    }
}
