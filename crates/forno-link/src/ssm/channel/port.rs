//! Which port of which instance.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::driver::{Signals, drive};
use super::settings::Settings;
use super::stream::ChannelStream;
use crate::ErrorKind;
use crate::ssm::Systems;

/// On the way there and on the way back, beside what is not acknowledged.
const BUFFER: usize = 64 * 1024;

/// A TCP port of an instance, reached by a session of Systems Manager.
#[derive(Clone, Debug)]
pub struct InstancePort {
    pub systems: Arc<dyn Systems>,
    pub instance_id: String,
    pub port: u16,
    pub settings: Settings,
}

impl InstancePort {
    pub fn new(systems: Arc<dyn Systems>, instance_id: impl Into<String>, port: u16) -> Self {
        Self {
            systems,
            instance_id: instance_id.into(),
            port,
            settings: Settings::default(),
        }
    }

    /// A session of its own for one connection. When this is not waited for any
    /// more, the session ends.
    ///
    /// That nothing listens on the port is known a moment later, by the stream.
    pub async fn open(&self) -> Result<ChannelStream, ErrorKind> {
        let (near, far) = tokio::io::duplex(BUFFER);
        let signals = Signals::default();
        let stream = ChannelStream {
            io: near,
            end: Arc::clone(&signals.end),
            hangup: signals.hangup.clone(),
            _dropped: signals.dropped.clone().drop_guard(),
        };
        let (tell, told) = oneshot::channel();
        tokio::spawn(drive(self.clone(), far, signals, tell));
        match told.await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(kind)) => Err(kind),
            Err(_) => Err(ErrorKind::Channel("internal: its task ended".into())),
        }
    }
}

/// `i-0123`, with the port where it is not that of SSH.
impl fmt::Display for InstancePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            22 => f.write_str(&self.instance_id),
            port => write!(f, "{}:{port}", self.instance_id),
        }
    }
}
