//! A link over Run Command alone: no sshd, no open port, no key.
//!
//! Run Command runs a script and tells, when it has ended, the beginning of what
//! it said; a round trip takes seconds. A link needs more: output as it comes and
//! all of it, an input, an end on request. So a script only *starts* a command,
//! in a session of its own with its output in files in memory (`serve.sh`), and
//! the same invocation then follows it (`follow.sh`) and answers in a frame. A
//! short command takes one round trip; longer ones are asked for again, with
//! offsets.
//!
//! What goes into a script's text stays in the command history and in CloudTrail.
//! Therefore input travels as objects of a [`Store`](super::Store), by presigned
//! URLs, and so does much output.

mod ask;
mod connect;
mod exec;
mod frame;
mod host;
mod input;
mod link;
mod objects;
mod output;
mod poller;
mod target;
mod text;

pub use connect::connect;
pub use link::SsmLink;
pub use poller::{Commands, Pace};
pub use target::{NEEDS, SsmTarget, SsmTiming};
