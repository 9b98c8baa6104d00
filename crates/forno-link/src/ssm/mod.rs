//! Machines without an open port, reached through AWS Systems Manager.

pub mod api;
pub mod channel;

pub use api::{
    CommandOutput, CommandState, DataKey, Ping, Refusal, RefusalKind, SessionOpened, Stage, Store,
    Systems,
};
