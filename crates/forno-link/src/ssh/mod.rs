//! Links over SSH, by russh. Its types stay inside: it changes often.

mod algorithms;
mod connect;
mod dial;
mod exec;
mod handler;
mod link;
mod proxy;
mod session;

pub use algorithms::Algorithms;
pub use connect::{Auth, SshTarget, Timing, connect};
pub use dial::Dial;
pub(crate) use exec::signal as signal_name;
pub use link::SshLink;
pub use proxy::ProxyCommand;
