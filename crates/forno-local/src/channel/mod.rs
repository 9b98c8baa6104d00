//! Sessions of Systems Manager: the websocket that carries one TCP connection to
//! a port of a machine, or a terminal in it, with the gateway's and the agent's side of its protocol.
//!
//! It is written for itself, from the published format, and shares nothing with
//! any client: an error made on both sides would be seen by nobody.

mod agent;
mod codec;
mod driver;
mod gateway;
mod incoming;
mod noise;
mod outgoing;
mod session;
mod terminal;

pub(crate) use driver::Conduct;
pub(crate) use gateway::{ACTION, ROOT, open};
pub(crate) use session::{Purpose, Session, Sessions, Wanted};
