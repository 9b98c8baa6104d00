//! Making an image out of a machine: what is this machine's own is forgotten,
//! so that every machine started from the image gets its own.

mod options;
mod run;

pub use options::{Allowed, Finding, SealItem, SealOptions, SealReport};
pub(crate) use run::seal;
