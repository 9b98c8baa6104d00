//! Where the events of a bake go: numbered, masked, recorded, handed on.

mod hub;
mod mask;
mod record;

pub(crate) use hub::Hub;
pub use hub::Subscription;
pub(crate) use mask::StreamMask;
pub use mask::{Masker, TooShort};
pub(crate) use record::{Journal, millis};
