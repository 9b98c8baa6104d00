//! A terminal on an instance.

use std::sync::Arc;

use tokio::sync::watch;

use super::driver::{Target, open};
use super::settings::Settings;
use super::stream::ChannelStream;
use crate::ErrorKind;
use crate::ssm::{Purpose, Systems};

/// In characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub columns: u32,
    pub rows: u32,
}

/// A pseudo terminal of an instance, reached by a session of Systems Manager, in
/// which a command line runs.
#[derive(Clone, Debug)]
pub struct InstanceTerminal {
    pub systems: Arc<dyn Systems>,
    pub instance_id: String,
    /// Run as the agent's own user: `ssm-user` where nothing else was arranged.
    pub command: String,
    pub settings: Settings,
}

impl InstanceTerminal {
    pub fn new(
        systems: Arc<dyn Systems>,
        instance_id: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self {
            systems,
            instance_id: instance_id.into(),
            command: command.into(),
            settings: Settings::default(),
        }
    }

    /// What is typed goes in, what is shown comes out; its end is the command's.
    /// The terminal there has this size, now and whenever it changes.
    pub async fn open(
        &self,
        size: watch::Receiver<TerminalSize>,
    ) -> Result<ChannelStream, ErrorKind> {
        open(Target {
            systems: Arc::clone(&self.systems),
            instance_id: self.instance_id.clone(),
            purpose: Purpose::Terminal(self.command.clone()),
            settings: self.settings.clone(),
            size: Some(size),
        })
        .await
    }
}
