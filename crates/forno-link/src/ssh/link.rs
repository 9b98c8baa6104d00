//! The SSH kind of link: a target, and the connection to it that is current.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::connect::{Auth, SshTarget, establish};
use super::dial::Dial;
use super::exec;
use super::session::Session;
use crate::link::{Command, Exit, Link, Sink, SshAccess};
use crate::ssm::Forward;
use crate::{Error, ErrorKind, Watch};

/// A link over SSH.
pub struct SshLink {
    target: SshTarget,
    current: Mutex<Option<Arc<Session>>>,
    /// For foreign clients, where an address does not lead to the machine: made when
    /// one asks.
    forward: Mutex<Option<Forward>>,
}

impl SshLink {
    pub(super) fn new(target: SshTarget, session: Session) -> Self {
        Self {
            target,
            current: Mutex::new(Some(Arc::new(session))),
            forward: Mutex::new(None),
        }
    }

    pub fn target(&self) -> &SshTarget {
        &self.target
    }

    fn replace(&self, session: Option<Session>) -> Option<Arc<Session>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, session.map(Arc::new))
    }

    pub(super) fn session(&self) -> Result<Arc<Session>, Error> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            None => Err(self.error(ErrorKind::Lost("closed".into()))),
            Some(session) if session.is_closed() => Err(self.error(session.lost())),
            Some(session) => Ok(Arc::clone(session)),
        }
    }

    /// A channel for something other than a command.
    pub(crate) async fn channel(&self) -> Result<russh::Channel<russh::client::Msg>, Error> {
        let session = self.session()?;
        session
            .channel(self.target.timing.open)
            .await
            .map_err(|kind| self.error(kind))
    }

    pub(crate) fn lost(&self) -> Error {
        match self.session() {
            Err(error) => error,
            Ok(_) => self.error(ErrorKind::Lost("the channel was closed".into())),
        }
    }

    /// Where a foreign client finds the machine.
    fn address(&self) -> Option<SocketAddr> {
        if let Dial::Tcp(address) = &self.target.dial {
            return Some(*address);
        }
        let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        if forward.is_none() {
            Handle::try_current().ok()?;
            let tell = |error: Error| tracing::warn!(%error, "a forwarded connection failed");
            match Forward::listen(self.target.dial.clone(), 0, tell) {
                Ok(made) => *forward = Some(made),
                Err(error) => tracing::warn!(%error, "cannot listen on loopback"),
            }
        }
        forward.as_ref().map(Forward::address)
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.target.peer(), kind)
    }
}

#[async_trait]
impl Link for SshLink {
    fn peer(&self) -> String {
        self.target.peer()
    }

    fn user(&self) -> &str {
        &self.target.user
    }

    fn is_connected(&self) -> bool {
        self.session().is_ok()
    }

    fn ssh_access(&self) -> Option<SshAccess> {
        let public_key = match &self.target.auth {
            Auth::Identity(identity) => identity.public_line(),
            Auth::Agent(_) => return None,
        };
        Some(SshAccess {
            address: self.address()?,
            user: self.target.user.clone(),
            host_key: self.target.host_key.clone(),
            public_key,
            agent_socket: self.target.agent_socket.clone(),
            options: self.target.algorithms.openssh_options(),
        })
    }

    async fn exec(
        &self,
        command: Command,
        sink: Box<dyn Sink>,
        cancel: &CancellationToken,
    ) -> Result<Exit, Error> {
        let session = self.session()?;
        exec::run(session, self.target.timing.open, command, sink, cancel)
            .await
            .map_err(|kind| self.error(kind))
    }

    async fn reconnect(
        &self,
        within: Duration,
        watch: &Watch,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        if let Some(old) = self.replace(None) {
            old.close().await;
        }
        let session = establish(&self.target, within, watch, cancel).await?;
        self.replace(Some(session));
        Ok(())
    }

    async fn close(&self) {
        *self.forward.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(session) = self.replace(None) {
            session.close().await;
        }
    }

    fn as_link(&self) -> &dyn Link {
        self
    }
}

impl std::fmt::Debug for SshLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SshLink({})", self.target.peer())
    }
}
