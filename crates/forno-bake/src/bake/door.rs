//! How the machines of a bake are entered: what must be made for it before one
//! is launched, and what it shows.

use forno_link::HostKeyPair;
use forno_recipe::Connect;

use super::context::Context;
use super::key_pair::{self, Key};
use crate::Error;

/// The way into a machine.
pub(super) enum Door {
    /// SSH to its address.
    Address(Key),
    /// SSH through a session of its agent.
    Session(Key),
    /// The agent alone.
    Agent,
}

impl Door {
    /// Makes what it takes; `role` tells the builder's key from the test machine's.
    pub(super) async fn make(ctx: &Context, role: &str) -> Result<Self, Error> {
        Ok(match ctx.prepared.connect {
            Connect::Ssh => Self::Address(key_pair::import(ctx, role).await?),
            Connect::SshOverSsm => Self::Session(key_pair::import(ctx, role).await?),
            Connect::Ssm => Self::Agent,
        })
    }

    /// The builder's, of a process that is gone; an error says why it stays shut.
    pub(super) fn take(ctx: &Context) -> Result<Self, String> {
        Ok(match ctx.prepared.connect {
            Connect::Ssh => Self::Address(key_pair::take(ctx)?),
            Connect::SshOverSsm => Self::Session(key_pair::take(ctx)?),
            Connect::Ssm => Self::Agent,
        })
    }

    pub(super) fn key(&self) -> Option<&Key> {
        match self {
            Self::Address(key) | Self::Session(key) => Some(key),
            Self::Agent => None,
        }
    }

    /// The host key that a machine behind this door is told to show.
    pub(super) fn host_key(&self) -> Option<HostKeyPair> {
        self.key().map(|_| HostKeyPair::generate())
    }
}
