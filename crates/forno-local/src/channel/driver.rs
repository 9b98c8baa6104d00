//! Runs one session: carries frames between the client's websocket and the
//! agent, and bytes between the agent and the machine's port or terminal. A session outlives
//! its connections; what it keeps for the next one is bounded by the agent.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket};
use forno_machine::{ErrorKind, Machine, PortStream, Running, Status};
use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::agent::Agent;
use super::codec::{Kind, Message, now as millis};
use super::noise::Noise;
use super::outgoing::LOOK;
use super::session::{Purpose, Session, SessionStatus};
use super::terminal;
use crate::faults::{ChannelFault, Direction};
use crate::fleet::Agent as Presence;
use crate::pace::Pace;

/// What one read of the port brings at most, where nobody slows it down.
const WIDE_READ: usize = 16 * 1024;
/// The same for the real agent.
const NARROW_READ: usize = 1024;
/// Frames on their way to the websocket.
const QUEUE: usize = 32;
/// Frames that may wait for a client that does not read; beyond it the client
/// is not listened to.
const MOST_BACKLOG: usize = 4096;
/// By how much timers of the runtime are late on the average; the real agent's
/// are not.
const TIMER_LAG: Duration = Duration::from_micros(600);
/// The last words of a session whose machine is gone.
const MACHINE_DOWN: &str = "The machine of the session went down";
/// How long a client may take to hear the last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How fast a session is, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conduct {
    read: usize,
    rest: Duration,
    idle: Duration,
    connection: Duration,
}

/// A client with a token that was believed.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) socket: WebSocket,
    pub(super) faults: Vec<ChannelFault>,
}

#[derive(Debug)]
pub(super) struct Driver {
    session: Arc<Session>,
    machine: Machine,
    /// Whether the machine's agent is there at all.
    presence: watch::Receiver<Presence>,
    conduct: Conduct,
    arriving: mpsc::Receiver<Box<Arrived>>,
    agent: Agent,
    connection: Option<Connection>,
    /// When stream data last went either way.
    busy: Instant,
}

#[derive(Debug)]
struct Connection {
    from_client: SplitStream<WebSocket>,
    to_client: mpsc::Sender<Frame>,
    writer: AbortHandle,
    /// Frames that nothing more can happen to.
    outbox: VecDeque<Vec<u8>>,
    noise: Noise,
    /// When the gateway closes it.
    closes: Instant,
    /// Whether the agent has lost its own connection.
    away: bool,
    told_to_pause: bool,
}

struct Port {
    reader: ReadHalf<PortStream>,
    writer: WriteHalf<PortStream>,
    /// The program that a terminal belongs to, which ends with it.
    _program: Option<Running>,
}

/// With the reason in the words of the real agent.
type Dialled = Result<(PortStream, Option<Running>), String>;
type Dialling = Pin<Box<dyn Future<Output = Dialled> + Send>>;

enum Event {
    Arrived(Box<Arrived>),
    Heard(Option<Result<Frame, axum::Error>>),
    Sent,
    ClientGone,
    Read(std::io::Result<usize>),
    Wrote(std::io::Result<usize>),
    Dialled(Dialled),
    MachineDown,
    Ending,
    Time,
}

impl Conduct {
    pub(crate) fn of(pace: &Pace) -> Self {
        Self {
            read: if pace.agent_read.is_zero() {
                WIDE_READ
            } else {
                NARROW_READ
            },
            rest: pace.agent_read.saturating_sub(TIMER_LAG),
            idle: pace.session_idle,
            connection: pace.channel_close,
        }
    }
}

impl Driver {
    pub(super) fn new(
        session: Arc<Session>,
        machine: Machine,
        presence: watch::Receiver<Presence>,
        conduct: Conduct,
        arriving: mpsc::Receiver<Box<Arrived>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            agent: Agent::new(&session.purpose, now),
            session,
            machine,
            presence,
            conduct,
            arriving,
            connection: None,
            busy: now,
        }
    }

    pub(super) async fn run(mut self) {
        let output = self.drive().await;
        tracing::debug!(session = self.session.id, output, "session ended");
        let failed = output.starts_with("Unable to ") || output.starts_with("SessionType");
        self.session.enter(if failed {
            SessionStatus::Failed
        } else {
            SessionStatus::Terminated
        });
        self.farewell(&output).await;
    }

    /// Until the session's end; returns its last words.
    async fn drive(&mut self) -> String {
        // Any change from now on is one from running to something else, even if
        // it was over too soon to be seen.
        let mut status = self.machine.status();
        if *status.borrow_and_update() != Status::Running {
            return MACHINE_DOWN.to_owned();
        }
        let mut port: Option<Port> = None;
        let mut dialling: Option<Dialling> = None;
        let mut buffer = vec![0; self.conduct.read];
        let mut rested = Instant::now();
        loop {
            let now = Instant::now();
            self.agent.look(now, self.connection.is_some());
            if let Some(output) = self.agent.over() {
                return output.to_owned();
            }
            if now - self.busy >= self.conduct.idle {
                return "Session timed out: it was idle for too long".to_owned();
            }
            self.tend(now);
            if dialling.is_none() && port.is_none() && self.agent.wants_port() {
                dialling = Some(self.dial());
            }
            let wake = self.wake(now, rested);
            let reading = self.connection.is_some() && self.agent.may_read() && now >= rested;
            let (reader, writer) = match &mut port {
                Some(port) => (Some(&mut port.reader), Some(&mut port.writer)),
                None => (None, None),
            };
            let Self {
                agent,
                connection,
                arriving,
                session,
                presence,
                ..
            } = self;
            let listening = agent.backlog() < MOST_BACKLOG;
            let event = tokio::select! {
                arrived = arriving.recv() => arrived.map_or(Event::Ending, Event::Arrived),
                event = Connection::turn(connection.as_mut(), listening, now) => event,
                read = read(reader.filter(|_| reading), &mut buffer) => Event::Read(read),
                wrote = write(writer, agent.to_write()) => Event::Wrote(wrote),
                dialled = dial(dialling.as_mut()) => Event::Dialled(dialled),
                _ = status.changed() => Event::MachineDown,
                Ok(()) = presence.changed() => Event::Time,
                () = session.ending.cancelled() => Event::Ending,
                () = sleep_until(wake) => Event::Time,
            };
            let now = Instant::now();
            match event {
                Event::Arrived(arrived) => self.arrived(arrived, now),
                Event::Heard(Some(Ok(Frame::Binary(frame)))) => self.heard(frame, now),
                Event::Heard(Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Text(_))))
                | Event::Sent
                | Event::Time => {}
                Event::Heard(_) | Event::ClientGone => self.client_gone(),
                Event::Read(Ok(0)) => self.agent.port_ended(now),
                Event::Read(Ok(count)) => {
                    self.busy = now;
                    self.agent.read(&buffer[..count], now);
                    rested = now + self.conduct.rest;
                }
                Event::Read(Err(error)) => {
                    tracing::debug!(session = self.session.id, %error, "port broke off");
                    self.agent.port_ended(now);
                }
                Event::Wrote(Ok(count @ 1..)) => self.agent.wrote(count, now),
                // What the port still says is carried; its end comes by reading.
                Event::Wrote(_) => self.agent.port_deaf(now),
                Event::Dialled(Ok((stream, program))) => {
                    dialling = None;
                    let (reader, writer) = tokio::io::split(stream);
                    port = Some(Port {
                        reader,
                        writer,
                        _program: program,
                    });
                    self.agent.port_opened();
                }
                Event::Dialled(Err(why)) => {
                    dialling = None;
                    match self.session.purpose {
                        Purpose::Port(_) => self.agent.port_failed(&why, now),
                        Purpose::Shell | Purpose::Command(_) => {
                            self.agent.terminal_failed(&why, now);
                        }
                    }
                }
                Event::MachineDown => return MACHINE_DOWN.to_owned(),
                Event::Ending => return String::new(),
            }
        }
    }

    fn dial(&self) -> Dialling {
        let machine = self.machine.clone();
        let command = match &self.session.purpose {
            &Purpose::Port(number) => {
                return Box::pin(async move {
                    let dialled = machine.dial(number).await;
                    dialled
                        .map(|stream| (stream, None))
                        .map_err(|error| dial_error(&error, number))
                });
            }
            Purpose::Shell => String::new(),
            Purpose::Command(command) => command.clone(),
        };
        let opening = terminal::open(machine, self.session.id.clone(), command);
        Box::pin(async move {
            let (stream, program) = opening.await?;
            Ok((stream, Some(program)))
        })
    }

    /// What the gateway does by itself: releases, pauses, closes.
    fn tend(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if now >= connection.closes || connection.noise.closes(now) {
            if let Some(connection) = self.connection.take() {
                tokio::spawn(connection.close(1000, "Bye"));
            }
            self.client_gone();
            return;
        }
        for frame in connection.noise.released(Direction::ToAgent, now) {
            self.agent.frame(&frame, now);
        }
        let released = connection.noise.released(Direction::ToClient, now);
        connection.outbox.extend(released);
        connection.away = !self.presence.borrow_and_update().online();
        let pauses = connection.away || connection.noise.pauses(now);
        if pauses != connection.told_to_pause {
            connection.told_to_pause = pauses;
            let kind = if pauses {
                Kind::PausePublication
            } else {
                Kind::StartPublication
            };
            connection
                .outbox
                .push_back(Message::control(kind, Vec::new()).encode());
        }
        while connection.outbox.is_empty() && !connection.halts(Direction::ToClient, now) {
            let Some(frame) = self.agent.next_frame() else {
                break;
            };
            let frames = connection.noise.pass(Direction::ToClient, frame, now);
            connection.outbox.extend(frames);
        }
    }

    /// The next time at which something is to be done without being asked.
    fn wake(&self, now: Instant, rested: Instant) -> Instant {
        let mut wake = self.busy + self.conduct.idle;
        if rested > now {
            wake = wake.min(rested);
        }
        if !self.agent.is_calm() {
            let pause = if self.connection.is_some() {
                LOOK
            } else {
                LOOK * 10
            };
            wake = wake.min(now + pause);
        }
        if let Some(connection) = &self.connection {
            wake = wake.min(connection.closes);
            if let Some(change) = connection.noise.next_change(now) {
                wake = wake.min(change);
            }
        }
        wake
    }

    fn arrived(&mut self, arrived: Box<Arrived>, now: Instant) {
        if let Some(before) = self.connection.take() {
            tokio::spawn(before.close(1000, "Another connection of this session was opened"));
        }
        self.agent.detached();
        self.agent.attached(now);
        self.session.enter(SessionStatus::Connected);
        self.connection = Some(Connection::new(arrived, now + self.conduct.connection, now));
        self.busy = now;
    }

    fn client_gone(&mut self) {
        self.connection = None;
        self.agent.detached();
        self.session.enter(SessionStatus::Disconnected);
    }

    fn heard(&mut self, frame: Bytes, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        for frame in connection.noise.pass(Direction::ToAgent, frame.into(), now) {
            self.agent.frame(&frame, now);
        }
        self.busy = now;
    }

    /// Says why it is over, to whoever still listens.
    async fn farewell(&mut self, output: &str) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let closed = json!({
            "MessageType": Kind::ChannelClosed.name(),
            "MessageId": Uuid::new_v4().to_string(),
            "DestinationId": self.session.target,
            "SessionId": self.session.id,
            "SchemaVersion": 1,
            "CreatedDate": millis(),
            "Output": output,
        });
        while let Some(frame) = self.agent.next_frame() {
            connection.outbox.push_back(frame);
        }
        let closed = Message::control(Kind::ChannelClosed, closed.to_string().into_bytes());
        connection.outbox.push_back(closed.encode());
        connection.close(1000, "").await;
    }
}

impl Connection {
    fn new(arrived: Box<Arrived>, closes: Instant, now: Instant) -> Self {
        let arrived = *arrived;
        let (mut sink, from_client) = arrived.socket.split();
        let (to_client, mut frames) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if sink.send(frame).await.is_err() {
                    return;
                }
            }
        });
        let mut outbox = VecDeque::new();
        outbox.push_back(Message::control(Kind::StartPublication, Vec::new()).encode());
        Self {
            from_client,
            to_client,
            writer: writer.abort_handle(),
            outbox,
            noise: Noise::new(arrived.faults, now),
            closes,
            away: false,
            told_to_pause: false,
        }
    }

    /// Whether nothing passes this way now.
    fn halts(&self, way: Direction, now: Instant) -> bool {
        self.away || self.noise.halts(way, now)
    }

    /// One frame in or out.
    async fn turn(connection: Option<&mut Self>, listening: bool, now: Instant) -> Event {
        let Some(connection) = connection else {
            return pending().await;
        };
        let may_hear = listening && !connection.halts(Direction::ToAgent, now);
        let Self {
            from_client,
            to_client,
            outbox,
            ..
        } = connection;
        tokio::select! {
            heard = from_client.next(), if may_hear => Event::Heard(heard),
            permit = to_client.reserve(), if !outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(frame) = outbox.pop_front() {
                        permit.send(Frame::Binary(frame.into()));
                    }
                    Event::Sent
                }
                Err(_) => Event::ClientGone,
            },
            else => pending().await,
        }
    }

    /// Sends what is to be sent, and then that it is over.
    async fn close(mut self, code: u16, reason: &str) {
        let close = Frame::Close(Some(CloseFrame {
            code,
            reason: reason.to_owned().into(),
        }));
        let outbox = std::mem::take(&mut self.outbox);
        let goodbye = async {
            for frame in outbox {
                if self
                    .to_client
                    .send(Frame::Binary(frame.into()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            if self.to_client.send(close).await.is_err() {
                return;
            }
            // Until the client has closed as well, so that nothing is cut off.
            while let Some(Ok(_)) = self.from_client.next().await {}
        };
        let _ = timeout(LAST_WORDS, goodbye).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

async fn read(
    reader: Option<&mut ReadHalf<PortStream>>,
    buffer: &mut [u8],
) -> std::io::Result<usize> {
    match reader {
        Some(reader) => reader.read(buffer).await,
        None => pending().await,
    }
}

async fn write(
    writer: Option<&mut WriteHalf<PortStream>>,
    bytes: Option<&[u8]>,
) -> std::io::Result<usize> {
    match writer.zip(bytes) {
        Some((writer, bytes)) => writer.write(bytes).await,
        None => pending().await,
    }
}

async fn dial(dialling: Option<&mut Dialling>) -> Dialled {
    match dialling {
        Some(dialling) => dialling.await,
        None => pending().await,
    }
}

/// In the words of the real agent, which is written in Go.
fn dial_error(error: &forno_machine::Error, port: u16) -> String {
    match error.kind() {
        ErrorKind::Refused => format!("dial tcp 127.0.0.1:{port}: connect: connection refused"),
        _ => error.to_string(),
    }
}
