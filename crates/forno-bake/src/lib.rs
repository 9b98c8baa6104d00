//! The bake: plan, effects, phases.

mod exit;
mod folder;
mod journal;
mod mask;

pub use exit::ExitCode;
pub use folder::{BakeFolder, Bakes, write_whole};
pub use journal::{Audience, Events, Journal};
pub use mask::{MASK, MaskedStream, Masker};
