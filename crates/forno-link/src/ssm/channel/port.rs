//! Which port of which instance.

use std::fmt;
use std::sync::Arc;

use super::driver::{Target, open};
use super::settings::Settings;
use super::stream::ChannelStream;
use crate::ErrorKind;
use crate::ssm::{Purpose, Systems};

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
        open(Target {
            systems: Arc::clone(&self.systems),
            instance_id: self.instance_id.clone(),
            purpose: Purpose::Port(self.port),
            settings: self.settings.clone(),
            size: None,
        })
        .await
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
