//! Systems Manager: what its operations mean, one file per topic, each
//! operation a function from a call to the members of its reply.

mod call;
mod check;
mod commands;
mod information;
mod members;
mod memory;
mod operations;
mod parameters;
mod sessions;
mod settings;

pub(crate) use call::Call;
pub(crate) use members::members;
pub(crate) use memory::Memory;
pub(crate) use operations::{find, names};
