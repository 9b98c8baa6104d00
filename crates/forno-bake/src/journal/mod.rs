//! Where the events of a bake go: numbered, masked, recorded, handed on.

mod hub;
mod mask;
mod record;

pub use hub::{Hub, Subscription};
pub use mask::{Masker, StreamMask, TooShort};
pub use record::Journal;
