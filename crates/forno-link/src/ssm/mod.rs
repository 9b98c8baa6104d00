//! Machines without an open port, reached through AWS Systems Manager.

pub mod api;
pub mod run;

pub use api::{
    CommandOutput, CommandState, DataKey, Ping, Refusal, RefusalKind, SessionOpened, Stage, Store,
    Systems,
};
pub use run::{Commands, NEEDS, Pace, SsmLink, SsmTarget, SsmTiming, connect};
