//! From many bakes to many listeners, without one slow listener holding up
//! anybody: what may be lost is dropped for it when it lags, the rest waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use forno_events::Envelope;
use tokio::sync::mpsc;

/// Lossy events are dropped for a listener that is this far behind.
const BACKLOG: usize = 4096;

/// Hands every envelope to every subscription. Clones share the listeners.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    listeners: Arc<Mutex<Vec<Listener>>>,
}

#[derive(Debug)]
struct Listener {
    queue: mpsc::UnboundedSender<Envelope>,
    backlog: Arc<AtomicUsize>,
}

/// The receiving end of a [`Hub`]; ends when the hub is gone.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::UnboundedReceiver<Envelope>,
    backlog: Arc<AtomicUsize>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        let (sender, queue) = mpsc::unbounded_channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        self.listeners().push(Listener {
            queue: sender,
            backlog: Arc::clone(&backlog),
        });
        Subscription { queue, backlog }
    }

    /// Lets every subscription come to its end.
    pub(crate) fn close(&self) {
        self.listeners().clear();
    }

    pub(crate) fn publish(&self, envelope: &Envelope) {
        self.listeners().retain(|listener| {
            if envelope.body.is_lossy() && listener.backlog.load(Ordering::Relaxed) >= BACKLOG {
                return !listener.queue.is_closed();
            }
            listener.backlog.fetch_add(1, Ordering::Relaxed);
            listener.queue.send(envelope.clone()).is_ok()
        });
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next one; `None` when no more can come.
    pub async fn recv(&mut self) -> Option<Envelope> {
        let envelope = self.queue.recv().await;
        if envelope.is_some() {
            self.backlog.fetch_sub(1, Ordering::Relaxed);
        }
        envelope
    }

    /// The next one if it is there already.
    pub fn try_recv(&mut self) -> Option<Envelope> {
        let envelope = self.queue.try_recv().ok();
        if envelope.is_some() {
            self.backlog.fetch_sub(1, Ordering::Relaxed);
        }
        envelope
    }
}
