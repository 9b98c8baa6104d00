//! Machines without an open port, reached through AWS Systems Manager.

pub mod api;
pub mod channel;
pub mod run;

mod forward;

pub use api::{
    CommandOutput, CommandState, DataKey, Ping, Purpose, Refusal, RefusalKind, SessionOpened,
    Stage, Store, Systems,
};
pub use channel::{InstancePort, InstanceTerminal, TerminalSize};
pub use forward::Forward;
pub use run::{Commands, NEEDS, Pace, SsmLink, SsmTarget, SsmTiming, connect};
