//! One connection: dialled, its host key checked, logged in.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{AlgorithmKind, ChannelOpenFailure, Disconnect, MethodSet};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{Auth, SshTarget};
use super::dial::Hangup;
use super::handler::{ClientHandler, Facts, describe};
use crate::ErrorKind;

/// sshd allows ten channels on a connection (MaxSessions); two are left for
/// ending commands.
const CHANNELS: usize = 8;

/// How long a channel that is refused is asked for, and how often.
const BUSY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// So much silence asks the machine for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(15);

pub(super) struct Session {
    handle: Handle<ClientHandler>,
    facts: Arc<Facts>,
    /// Ends it for certain, with the session.
    hangup: Hangup,
    pub(super) channels: Arc<Semaphore>,
}

impl Session {
    /// One attempt.
    pub(super) async fn open(target: &SshTarget) -> Result<Self, ErrorKind> {
        let timing = &target.timing;
        let (stream, hangup) = target.dial.dial(timing.dial).await?;

        let facts = Arc::new(Facts::default());
        let handler = ClientHandler {
            expected: target.host_key.clone(),
            facts: Arc::clone(&facts),
        };
        let config = Arc::new(config(target));
        let handle = match timeout(
            timing.handshake,
            client::connect_stream(config, stream, handler),
        )
        .await
        {
            Err(_) => {
                return Err(ErrorKind::Handshake(format!(
                    "no answer within {}",
                    crate::error::seconds(&timing.handshake)
                )));
            }
            Ok(Err(error)) => {
                return Err(match facts.other_key() {
                    Some(found) => ErrorKind::HostKeyMismatch {
                        expected: target.host_key.fingerprint(),
                        found,
                    },
                    None => hangup.reason().unwrap_or_else(|| handshake(&error)),
                });
            }
            Ok(Ok(handle)) => handle,
        };
        let mut session = Self {
            handle,
            facts,
            hangup,
            channels: Arc::new(Semaphore::new(CHANNELS)),
        };
        match timeout(timing.auth, session.log_in(target)).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(ErrorKind::Handshake(format!(
                    "the login was not answered within {}",
                    crate::error::seconds(&timing.auth)
                )));
            }
        }
        Ok(session)
    }

    async fn log_in(&mut self, target: &SshTarget) -> Result<(), ErrorKind> {
        let user = target.user.clone();
        let (result, key) = match &target.auth {
            Auth::Identity(identity) => {
                let key = PrivateKeyWithHashAlg::new(identity.private(), None);
                let result = self
                    .handle
                    .authenticate_publickey(user.clone(), key)
                    .await
                    .map_err(|error| ErrorKind::Handshake(describe(&error)))?;
                (result, identity.fingerprint())
            }
            Auth::Agent(socket) => {
                let failed = |error: &dyn std::fmt::Display| {
                    ErrorKind::Agent(format!("{}: {error}", socket.display()))
                };
                let path = crate::agent::resolve(socket);
                let mut agent = AgentClient::connect_uds(path)
                    .await
                    .map_err(|e| failed(&e))?;
                let keys = agent.request_identities().await.map_err(|e| failed(&e))?;
                let Some(key) = keys.first() else {
                    return Err(failed(&"it holds no key"));
                };
                let key = key.public_key().into_owned();
                let result = self
                    .handle
                    .authenticate_publickey_with(user.clone(), key.clone(), None, &mut agent)
                    .await
                    .map_err(|error| failed(&error))?;
                (result, key.fingerprint(HashAlg::Sha256).to_string())
            }
        };
        match result {
            client::AuthResult::Success => Ok(()),
            // This is also what russh answers when the connection ended meanwhile.
            client::AuthResult::Failure { .. } if self.handle.is_closed() => {
                Err(ErrorKind::Handshake(self.facts.end()))
            }
            client::AuthResult::Failure {
                remaining_methods, ..
            } => Err(ErrorKind::AuthFailed {
                user,
                key,
                methods: names(&remaining_methods),
            }),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Why it ended.
    pub(super) fn lost(&self) -> ErrorKind {
        ErrorKind::Lost(match self.hangup.reason() {
            Some(reason @ ErrorKind::Channel(_)) => reason.to_string(),
            _ => self.facts.end(),
        })
    }

    pub(super) async fn channel(
        &self,
        within: Duration,
    ) -> Result<russh::Channel<client::Msg>, ErrorKind> {
        // sshd counts a command until it has reaped it, which may be after its
        // channel was closed.
        let begun = Instant::now();
        let open = async {
            loop {
                match self.handle.channel_open_session().await {
                    Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))
                        if begun.elapsed() < BUSY =>
                    {
                        sleep(PAUSE).await;
                    }
                    other => return other,
                }
            }
        };
        match timeout(within, open).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                Err(ErrorKind::Denied(format!("open a channel ({reason:?})")))
            }
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => Err(ErrorKind::Lost(format!(
                "no channel could be opened within {}",
                crate::error::seconds(&within)
            ))),
        }
    }

    pub(super) async fn close(&self) {
        let goodbye = self.handle.disconnect(Disconnect::ByApplication, "", "");
        let sent = timeout(Duration::from_secs(1), goodbye).await;
        tracing::debug!(?sent, "closing the connection");
    }
}

fn handshake(error: &russh::Error) -> ErrorKind {
    let russh::Error::NoCommonAlgo { kind, ours, theirs } = error else {
        return ErrorKind::Handshake(describe(error));
    };
    // Markers are no methods.
    let listed = |names: &[String]| {
        let names = names
            .iter()
            .filter(|name| !name.starts_with("kex-strict-") && !name.starts_with("ext-info-"));
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    ErrorKind::NoCommonAlgorithm {
        what: match kind {
            AlgorithmKind::Kex => "key exchange",
            AlgorithmKind::Key => "kind of host key",
            AlgorithmKind::Cipher => "cipher",
            AlgorithmKind::Compression => "compression",
            AlgorithmKind::Mac => "MAC",
        },
        ours: listed(ours),
        theirs: listed(theirs),
    }
}

fn config(target: &SshTarget) -> client::Config {
    let timing = &target.timing;
    client::Config {
        preferred: target.algorithms.preferred(),
        keepalive_interval: Some(timing.keepalive.unwrap_or(KEEPALIVE)),
        keepalive_max: timing.unanswered,
        nodelay: true,
        ..client::Config::default()
    }
}

fn names(methods: &MethodSet) -> String {
    let names: Vec<&str> = methods.iter().map(<&str>::from).collect();
    if names.is_empty() {
        "nothing".into()
    } else {
        names.join(", ")
    }
}
