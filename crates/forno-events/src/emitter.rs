//! The one way to emit: a handle that every part of the engine carries.

use std::fmt;
use std::sync::Arc;

use crate::Event;

/// Where events go. Implementations must not block.
pub trait Sink: Send + Sync {
    fn emit(&self, event: Event);
}

/// A cheap handle on a [`Sink`].
#[derive(Clone)]
pub struct Emitter(Arc<dyn Sink>);

impl Emitter {
    pub fn new(sink: impl Sink + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Swallows everything; for tests of parts whose events are of no interest.
    pub fn none() -> Self {
        Self::new(|_: Event| {})
    }

    pub fn emit(&self, event: Event) {
        self.0.emit(event);
    }
}

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Emitter")
    }
}
