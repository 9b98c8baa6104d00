//! The data channel of a session: the bytes of one TCP connection to a port of
//! an instance, or of a terminal there, without Amazon's session-manager-plugin.
//!
//! The gateway is a websocket that is closed about every hour; the session goes
//! on over the next one. Frames are numbered, acknowledged and repeated, so that
//! nothing is lost with a connection.

mod cipher;
mod driver;
mod end;
pub mod frame;
mod handshake;
mod heartbeat;
mod incoming;
pub mod machine;
mod outgoing;
pub mod payload;
mod port;
mod pump;
mod rtt;
mod settings;
mod socket;
mod stream;
mod terminal;
mod window;

pub use end::End;
pub use port::InstancePort;
pub use settings::Settings;
pub use stream::{ChannelStream, Hangup};
pub use terminal::{InstanceTerminal, TerminalSize};
