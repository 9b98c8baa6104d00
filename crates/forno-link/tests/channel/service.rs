//! Systems Manager and its gateway on loopback: sessions whose connections are as
//! bad as a test wants them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use forno_link::ssm::{
    CommandOutput, CommandState, DataKey, Ping, Purpose, Refusal, RefusalKind, SessionOpened,
    Systems,
};
use futures::{SinkExt, StreamExt};
use rand::Rng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Out, Seen};

/// What the gateway does to frames, of a thousand, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    /// Sent after the one that follows.
    pub(crate) swapped: u32,
    /// The connection is closed after so many.
    pub(crate) close_after: Option<usize>,
}

#[derive(Debug)]
struct Session {
    token: String,
    out: Out,
    to_agent: mpsc::UnboundedSender<Bytes>,
    over: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Service {
    scheme: &'static str,
    address: SocketAddr,
    /// The port that is meant by 22.
    sshd: u16,
    pub(crate) faults: Mutex<Faults>,
    sessions: Mutex<HashMap<String, Session>>,
    started: AtomicUsize,
    pub(crate) resumed: AtomicUsize,
    pub(crate) terminated: Mutex<Vec<String>>,
    pub(crate) seen: Mutex<Vec<Arc<Seen>>>,
    online: Mutex<bool>,
    /// Ends all connections.
    kill: broadcast::Sender<Option<String>>,
    pub(crate) dead: CancellationToken,
}

impl Service {
    pub(crate) async fn start(sshd: u16) -> Arc<Self> {
        Self::start_with(sshd, None).await
    }

    pub(crate) async fn start_with(sshd: u16, tls: Option<TlsAcceptor>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Arc::new(Self {
            scheme: if tls.is_some() { "wss" } else { "ws" },
            address: listener.local_addr().unwrap(),
            sshd,
            faults: Mutex::default(),
            sessions: Mutex::default(),
            started: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
            terminated: Mutex::default(),
            seen: Mutex::default(),
            online: Mutex::new(true),
            kill: broadcast::channel(4).0,
            dead: CancellationToken::new(),
        });
        let gateway = Arc::clone(&service);
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    () = gateway.dead.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                stream.set_nodelay(true).unwrap();
                let (gateway, tls) = (Arc::clone(&gateway), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => gateway.connection(stream).await,
                        Some(tls) => {
                            // A client that does not trust it hangs up.
                            if let Ok(stream) = tls.accept(stream).await {
                                gateway.connection(stream).await;
                            }
                        }
                    }
                });
            }
        });
        service
    }

    pub(crate) fn set_online(&self, online: bool) {
        *self.online.lock().unwrap() = online;
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// Ends every connection, as a gateway does every hour.
    pub(crate) fn bye(&self) {
        let _ = self.kill.send(None);
    }

    /// Ends every session, for that reason.
    pub(crate) fn end_sessions(&self, why: &str) {
        let _ = self.kill.send(Some(why.to_owned()));
    }

    /// As if they had been terminated elsewhere.
    pub(crate) fn forget_sessions(&self) {
        self.sessions.lock().unwrap().clear();
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    pub(crate) async fn until_no_session(&self) {
        for _ in 0..1000 {
            if self.sessions() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} sessions stay", self.sessions());
    }

    async fn connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut id = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's own")]
        let look = |request: &Request, response: Response| {
            assert_eq!(request.headers()["authorization"], "AWS4-HMAC-SHA256 test");
            id.push_str(request.uri().path().rsplit('/').next().unwrap());
            Ok(response)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else {
            return;
        };
        let Some(Ok(Message::Text(first))) = socket.next().await else {
            return;
        };
        let first: serde_json::Value = serde_json::from_str(&first).unwrap();
        let (out, mut from_agent) = mpsc::channel(64);
        let (to_agent, over) = {
            let sessions = self.sessions.lock().unwrap();
            let Some(session) = sessions.get(&id) else {
                return;
            };
            assert_eq!(first["TokenValue"], session.token);
            *session.out.lock().unwrap() = Some(out);
            (session.to_agent.clone(), session.over.clone())
        };
        let faults = *self.faults.lock().unwrap();
        let (mut up, mut down) = (Line::default(), Line::default());
        let mut count = 0;
        let mut kill = self.kill.subscribe();
        loop {
            if faults.close_after.is_some_and(|most| count >= most) {
                break;
            }
            tokio::select! {
                biased;
                () = self.dead.cancelled() => return,
                why = kill.recv() => {
                    if let Ok(Some(why)) = why {
                        let _ = socket.send(closed(&id, &why)).await;
                        self.sessions.lock().unwrap().remove(&id);
                    }
                    break;
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(frame))) => {
                        count += 1;
                        for frame in up.pass(&faults, frame) {
                            let _ = to_agent.send(frame);
                        }
                    }
                    Some(Ok(_)) => {}
                    _ => break,
                },
                Some(frame) = from_agent.recv() => {
                    count += 1;
                    for frame in down.pass(&faults, frame) {
                        if socket.feed(Message::Binary(frame)).await.is_err() {
                            return;
                        }
                    }
                    if from_agent.is_empty() && socket.flush().await.is_err() {
                        break;
                    }
                }
                () = over.cancelled(), if from_agent.is_empty() => {
                    let _ = socket.send(closed(&id, "")).await;
                    self.sessions.lock().unwrap().remove(&id);
                    break;
                }
            }
        }
        if let Some(session) = self.sessions.lock().unwrap().get(&id) {
            *session.out.lock().unwrap() = None;
        }
        let bye = CloseFrame {
            code: 1000.into(),
            reason: "Bye".into(),
        };
        let _ = socket.close(Some(bye)).await;
    }
}

fn closed(id: &str, why: &str) -> Message {
    let payload = serde_json::json!({
        "MessageType": "channel_closed", "SessionId": id, "SchemaVersion": 1, "Output": why,
    });
    let payload = payload.to_string();
    Message::Binary(crate::wire::build(
        "channel_closed",
        0,
        0,
        0,
        payload.as_bytes(),
    ))
}

#[derive(Default)]
struct Line {
    held: Option<Bytes>,
}

impl Line {
    fn pass(&mut self, faults: &Faults, frame: Bytes) -> Vec<Bytes> {
        let mut random = rand::rng();
        let mut happens = |of_thousand: u32| random.random_range(0..1000) < of_thousand;
        if happens(faults.lost) {
            return Vec::new();
        }
        if self.held.is_none() && happens(faults.swapped) {
            self.held = Some(frame);
            return Vec::new();
        }
        let mut frames = vec![frame];
        if happens(faults.doubled) {
            frames.push(frames[0].clone());
        }
        frames.extend(self.held.take());
        frames
    }
}

fn nothing<T>() -> Result<T, Refusal> {
    Err(Refusal::new(RefusalKind::Other, "not in this test"))
}

#[async_trait]
impl Systems for Service {
    async fn start_session(
        &self,
        instance_id: &str,
        purpose: &Purpose,
    ) -> Result<SessionOpened, Refusal> {
        let &Purpose::Port(port) = purpose else {
            return Err(Refusal::new(
                RefusalKind::Other,
                "this agent has no terminals",
            ));
        };
        if !*self.online.lock().unwrap() {
            return Err(Refusal::new(
                RefusalKind::NotConnected,
                format!("StartSession: TargetNotConnected: {instance_id} is not connected."),
            ));
        }
        let id = format!("forno-{}", self.started.fetch_add(1, Ordering::Relaxed));
        let out = Out::default();
        let seen = Arc::new(Seen::default());
        let port = if port == 22 { self.sshd } else { port };
        let agent = Agent::new(Arc::clone(&out), port, Arc::clone(&seen));
        let (to_agent, from_client) = mpsc::unbounded_channel();
        let over = CancellationToken::new();
        let token = over.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = agent.run(from_client) => token.cancel(),
                () = token.cancelled() => {}
            }
        });
        self.seen.lock().unwrap().push(seen);
        let session = Session {
            token: format!("first token of {id}"),
            out,
            to_agent,
            over,
        };
        let opened = self.opened(&id, &session);
        self.sessions.lock().unwrap().insert(id, session);
        Ok(opened)
    }

    async fn resume_session(&self, session_id: &str) -> Result<SessionOpened, Refusal> {
        if self.dead.is_cancelled() {
            return Err(Refusal::new(
                RefusalKind::Unreachable,
                "ResumeSession: no route to host",
            ));
        }
        let count = self.resumed.fetch_add(1, Ordering::Relaxed);
        let mut sessions = self.sessions.lock().unwrap();
        let Some(session) = sessions.get_mut(session_id) else {
            return Err(Refusal::new(
                RefusalKind::Unknown,
                format!("ResumeSession: DoesNotExistException: {session_id}"),
            ));
        };
        session.token = format!("token {count} of {session_id}");
        Ok(self.opened(session_id, session))
    }

    async fn terminate_session(&self, session_id: &str) -> Result<(), Refusal> {
        self.terminated.lock().unwrap().push(session_id.to_owned());
        if let Some(session) = self.sessions.lock().unwrap().remove(session_id) {
            session.over.cancel();
        }
        Ok(())
    }

    async fn sign_stream(&self, stream_url: &str) -> Result<Vec<(String, String)>, Refusal> {
        assert!(stream_url.starts_with(self.scheme));
        let signature = "AWS4-HMAC-SHA256 test".to_owned();
        Ok(vec![("Authorization".to_owned(), signature)])
    }

    async fn ping(&self, _: &str) -> Result<Option<Ping>, Refusal> {
        nothing()
    }

    async fn send_command(
        &self,
        _: &str,
        _: &str,
        _: Duration,
        _: Duration,
    ) -> Result<String, Refusal> {
        nothing()
    }

    async fn command_states(&self, _: SystemTime) -> Result<Vec<CommandState>, Refusal> {
        nothing()
    }

    async fn command_output(&self, _: &str, _: &str) -> Result<CommandOutput, Refusal> {
        nothing()
    }

    async fn cancel_command(&self, _: &str) -> Result<(), Refusal> {
        nothing()
    }

    async fn data_key(&self, _: &str, _: &[(String, String)]) -> Result<DataKey, Refusal> {
        nothing()
    }
}

impl Service {
    fn opened(&self, id: &str, session: &Session) -> SessionOpened {
        SessionOpened {
            session_id: id.to_owned(),
            stream_url: format!(
                "{}://localhost:{}/v1/data-channel/{id}?role=publish_subscribe",
                self.scheme,
                self.address.port()
            ),
            token: session.token.clone().into(),
        }
    }
}
