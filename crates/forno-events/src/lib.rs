//! What happens during a bake, as data.
//!
//! Everything that forno tells a person or a program passes through these
//! types: the engine emits them, a journal numbers and records them, renderers
//! fold over them. Nothing here acts, prints or knows a cloud, so that a
//! recorded bake can be read by any later version.
//!
//! Two classes: *lifecycle* events are never lost; `Progress` and `Output` may
//! be dropped by a slow consumer ([`Event::is_lossy`]).

mod emitter;
mod event;
mod ids;

pub use emitter::{Emitter, Sink};
pub use event::{
    Envelope, Event, Outcome, Resource, SCHEMA_VERSION, Severity, StepInfo, Stream, Unit,
};
pub use ids::{BakeId, InvalidBakeId, StepId};
