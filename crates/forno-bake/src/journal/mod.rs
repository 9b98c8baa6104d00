//! Where the events of a bake go: numbered, masked, recorded, handed on.

mod forms;
mod hub;
mod mask;
mod past;
mod record;

pub(crate) use forms::on_disk;
pub(crate) use hub::Hub;
pub use hub::Subscription;
pub(crate) use mask::StreamMask;
pub use mask::{Masker, TooShort};
pub(crate) use past::Past;
pub(crate) use record::{Journal, millis};
