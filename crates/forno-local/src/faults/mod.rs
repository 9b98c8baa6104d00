//! Misbehaviour on purpose: what a plan says, which calls it strikes, and what
//! is remembered of every call. What a struck call then suffers is done where
//! every call passes (`service::dispatch`) and where machines change state
//! (`fleet`).

mod actions;
mod bucket;
mod channel;
mod log;
mod marks;
mod plan;
mod regime;
pub(crate) mod span;
mod veil;
mod words;
mod written;

pub use actions::Actions;
pub use channel::{ChannelFault, Direction};
pub(crate) use log::Asked;
pub use log::{CallRecord, Reply, ServiceName, Work};
pub(crate) use marks::{CaptureEnd, Marks};
pub use plan::{Calls, Fault, FaultPlan, InjectedError, Moment, Then, Throttle};
pub(crate) use regime::{Regime, Strike};
pub(crate) use written::{Flaw, read_file};
