//! One connection: dialled, its host key checked, logged in.

use std::borrow::Cow;
use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{ChannelOpenFailure, Disconnect, MethodSet, Preferred, cipher};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{Auth, SshTarget};
use super::handler::{ClientHandler, Facts, describe};
use crate::ErrorKind;

/// sshd allows ten channels on a connection (MaxSessions); two are left for
/// ending commands.
const CHANNELS: usize = 8;

/// How long a channel that is refused is asked for, and how often.
const BUSY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// AES-GCM first: with the processor's instructions it moves a third more than
/// ChaCha20 at half the work. Plain CTR with a separate MAC is slowest.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
];

/// Fifteen seconds of silence ask the machine for a sign of life; after three
/// without answer it counts as gone.
const KEEPALIVE: Duration = Duration::from_secs(15);

pub(super) struct Session {
    handle: Handle<ClientHandler>,
    facts: Arc<Facts>,
    /// The same socket once more: russh's task owns the other, and shutting this
    /// one ends it for certain.
    socket: StdTcpStream,
    pub(super) channels: Arc<Semaphore>,
}

impl Session {
    /// One attempt.
    pub(super) async fn open(target: &SshTarget) -> Result<Self, ErrorKind> {
        let timing = &target.timing;
        let stream = match timeout(timing.dial, TcpStream::connect(target.address)).await {
            Err(_) => return Err(ErrorKind::ConnectTimedOut(timing.dial)),
            Ok(Err(error)) => {
                return Err(match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
                    std::io::ErrorKind::TimedOut => ErrorKind::ConnectTimedOut(timing.dial),
                    _ => ErrorKind::Unreachable(error),
                });
            }
            Ok(Ok(stream)) => stream,
        };
        // Without it every small command waits 40 ms for a delayed acknowledgement.
        let (stream, socket) = stream
            .set_nodelay(true)
            .and_then(|()| stream.into_std())
            .and_then(|socket| {
                let other = socket.try_clone()?;
                Ok((TcpStream::from_std(socket)?, Hangup(Some(other))))
            })
            .map_err(ErrorKind::Unreachable)?;

        let facts = Arc::new(Facts::default());
        let handler = ClientHandler {
            expected: target.host_key.clone(),
            facts: Arc::clone(&facts),
        };
        let config = Arc::new(config(target.timing.keepalive));
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
                    None => ErrorKind::Handshake(describe(&error)),
                });
            }
            Ok(Ok(handle)) => handle,
        };
        let mut session = Self {
            handle,
            facts,
            socket: socket.keep(),
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
        ErrorKind::Lost(self.facts.end())
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

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Ends a half-made connection; russh's own task would go on with it.
struct Hangup(Option<StdTcpStream>);

impl Hangup {
    fn keep(mut self) -> StdTcpStream {
        self.0.take().expect("is taken once")
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn config(keepalive: Option<Duration>) -> client::Config {
    client::Config {
        // The defaults for the rest keep the markers for strict key exchange and
        // extension info, without which Terrapin is not prevented.
        preferred: Preferred {
            cipher: Cow::Borrowed(CIPHERS),
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(keepalive.unwrap_or(KEEPALIVE)),
        keepalive_max: 3,
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
