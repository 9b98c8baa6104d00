//! The bake: plan, effects, phases.

mod exit;
mod folder;
mod journal;

pub use exit::ExitCode;
pub use folder::{BakeFolder, Bakes, write_whole};
