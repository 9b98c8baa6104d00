//! The life of one session: started, carried over as many connections as it
//! takes, and ended for certain.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use tokio::io::DuplexStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::machine::Machine;
use super::payload::Flag;
use super::pump::{Near, Pump, Stop, now};
use super::settings::Settings;
use super::socket::{Socket, dial};
use super::stream::ChannelStream;
use super::terminal::TerminalSize;
use crate::ErrorKind;
use crate::ssm::{Purpose, RefusalKind, SessionOpened, Systems};

/// On the way there and on the way back, beside what is not acknowledged.
const BUFFER: usize = 64 * 1024;

/// For the calls that surround a session. Who makes them has a patience too.
const CALL: Duration = Duration::from_secs(30);

/// What a session is to.
pub(super) struct Target {
    pub(super) systems: Arc<dyn Systems>,
    pub(super) instance_id: String,
    pub(super) purpose: Purpose,
    pub(super) settings: Settings,
    /// Of the terminal, where there is one.
    pub(super) size: Option<watch::Receiver<TerminalSize>>,
}

/// A session of its own. When this is not waited for any more, the session ends.
pub(super) async fn open(target: Target) -> Result<ChannelStream, ErrorKind> {
    let (near, far) = tokio::io::duplex(BUFFER);
    let signals = Signals::default();
    let stream = ChannelStream {
        io: near,
        end: Arc::clone(&signals.end),
        hangup: signals.hangup.clone(),
        _dropped: signals.dropped.clone().drop_guard(),
    };
    let (tell, told) = oneshot::channel();
    tokio::spawn(drive(target, far, signals, tell));
    match told.await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(kind)) => Err(kind),
        Err(_) => Err(ErrorKind::Channel("internal: its task ended".into())),
    }
}

/// What the holder of the stream and the driver tell each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// Nobody holds the stream any more: what was written is still delivered.
    pub(super) dropped: CancellationToken,
    /// It ends now.
    pub(super) hangup: CancellationToken,
    pub(super) end: Arc<OnceLock<End>>,
}

impl Signals {
    /// Hung up, or not held by anybody for so long.
    async fn over(&self, goodbye: Duration) {
        let forgotten = async {
            self.dropped.cancelled().await;
            sleep(goodbye).await;
        };
        tokio::select! {
            () = self.hangup.cancelled() => {}
            () = forgotten => {}
        }
    }

    async fn unless_over<T>(
        &self,
        goodbye: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        tokio::select! {
            biased;
            () = self.over(goodbye) => Err(End::Closed),
            done = work => Ok(done),
        }
    }
}

/// The terminal's size, once it is another.
async fn resized(size: Option<&mut watch::Receiver<TerminalSize>>) -> TerminalSize {
    if let Some(size) = size
        && size.changed().await.is_ok()
    {
        return *size.borrow_and_update();
    }
    std::future::pending().await
}

type Opened = oneshot::Sender<Result<(), ErrorKind>>;

/// Runs as a task of its own, so that a session that was started is ended,
/// whoever stopped waiting for it.
async fn drive(mut target: Target, io: DuplexStream, signals: Signals, tell: Opened) {
    let size = target.size.take().map(|mut size| {
        // The first one is news to the agent.
        size.mark_changed();
        size
    });
    let started = target
        .systems
        .start_session(&target.instance_id, &target.purpose);
    let session = match started.await {
        Ok(session) => session,
        Err(refusal) => {
            let _ = tell.send(Err(refusal.into()));
            return;
        }
    };
    let id = session.session_id.clone();
    tracing::debug!(
        session = id,
        instance = target.instance_id,
        "a session was started"
    );
    let settings = target.settings.clone();
    let machine = Machine::new(&target.purpose, settings, now(), SystemTime::now());
    let mut driver = Driver {
        near: Near::new(io, target.settings.chunk),
        target: &target,
        size,
        signals: &signals,
        session,
        machine,
        tell: Some(tell),
        lost: None,
    };
    // Not, when nobody waited for it to start.
    if !signals.dropped.is_cancelled() {
        driver.run().await;
    }
    let ended = timeout(CALL, target.systems.terminate_session(&id)).await;
    tracing::debug!(session = id, ?ended, "a session was ended");
}

struct Driver<'a> {
    target: &'a Target,
    size: Option<watch::Receiver<TerminalSize>>,
    signals: &'a Signals,
    session: SessionOpened,
    machine: Machine,
    near: Near,
    tell: Option<Opened>,
    /// Since when there is no connection that works.
    lost: Option<Lost>,
}

struct Lost {
    since: Instant,
    attempts: u32,
    why: String,
}

impl Lost {
    /// Before the next attempt. The first needs none: the gateway closes every
    /// connection after about an hour.
    fn pause(&mut self, settings: &Settings, patience: Duration) -> Result<Duration, End> {
        let left = patience.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return Err(End::Failed(format!(
                "the connection was lost and not found again within {}: {}",
                crate::error::seconds(&patience),
                self.why
            )));
        }
        let (first, most) = settings.backoff;
        let pause = match self.attempts {
            0 => Duration::ZERO,
            n => first.saturating_mul(1 << (n - 1).min(10)).min(most),
        };
        self.attempts += 1;
        Ok(pause.min(left))
    }
}

impl Driver<'_> {
    async fn run(&mut self) {
        let last = self.carry().await;
        if last.is_none() {
            let rest = self.near.deliver(&mut self.machine);
            let _ = self
                .signals
                .unless_over(self.target.settings.goodbye, rest)
                .await;
        }
        // For a reader that is still there: first why, then that it is over.
        let end = self.machine.end().cloned().unwrap_or(End::Closed);
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(Err(end.kind()));
        }
        let _ = self.signals.end.set(end);
        let (gone, _) = tokio::io::duplex(1);
        self.near.io = gone;
        if let Some(socket) = last {
            self.part(socket).await;
        }
    }

    /// Over one connection after another; the last one, if it still works.
    async fn carry(&mut self) -> Option<Socket> {
        loop {
            let socket = match self.connect().await {
                Ok(socket) => socket,
                Err(end) => {
                    self.machine.fail(end);
                    return None;
                }
            };
            self.machine.connected(&self.session.token);
            if let Some(socket) = self.pump(socket).await {
                return Some(socket);
            }
            self.machine.disconnected();
        }
    }

    /// Until the connection is lost, or not needed any more.
    async fn pump(&mut self, socket: Socket) -> Option<Socket> {
        let settings = &self.target.settings;
        let mut pump = Pump::new(
            &mut self.machine,
            &mut self.near,
            socket,
            settings,
            &self.signals.dropped,
        );
        loop {
            let stop = tokio::select! {
                stop = pump.run(self.tell.is_some()) => stop,
                () = self.signals.over(settings.goodbye) => Some(Stop::Finished),
                size = resized(self.size.as_mut().filter(|_| self.tell.is_none())) => {
                    pump.machine.resize(size, now());
                    continue;
                }
            };
            let Some(stop) = stop else {
                // The one who opens is told as soon as it is.
                if let Some(tell) = self.tell.take() {
                    let _ = tell.send(Ok(()));
                }
                continue;
            };
            if pump.heard {
                self.lost = None;
            }
            match stop {
                Stop::Ended | Stop::Finished => return Some(pump.socket),
                Stop::Lost(why) => {
                    tracing::debug!(why, "a data channel's connection is lost");
                    let lost = self.lost.get_or_insert_with(|| Lost {
                        since: Instant::now(),
                        attempts: 0,
                        why: String::new(),
                    });
                    lost.why = why;
                    return None;
                }
                Stop::Key => {
                    let Some(key_id) = pump.machine.key_wanted().map(str::to_owned) else {
                        continue;
                    };
                    let context = [
                        ("aws:ssm:SessionId".into(), self.session.session_id.clone()),
                        ("aws:ssm:TargetId".into(), self.target.instance_id.clone()),
                    ];
                    let key = self.target.systems.data_key(&key_id, &context);
                    let key = self
                        .signals
                        .unless_over(settings.goodbye, timeout(CALL, key));
                    match key.await {
                        Ok(Ok(Ok(key))) => pump.machine.key(&key, now()),
                        Ok(Ok(Err(refusal))) => pump.machine.fail(End::Encryption(refusal.message)),
                        Ok(Err(_)) => {
                            let why = "KMS did not answer".to_owned();
                            pump.machine.fail(End::Encryption(why));
                        }
                        Err(end) => pump.machine.fail(end),
                    }
                }
            }
        }
    }

    /// The first connection, or another with a token of its own.
    async fn connect(&mut self) -> Result<Socket, End> {
        let systems = &*self.target.systems;
        let settings = &self.target.settings;
        let Some(lost) = &mut self.lost else {
            let socket = dial(systems, &self.session.stream_url);
            let socket = self.signals.unless_over(settings.goodbye, socket).await?;
            return socket.map_err(End::Failed);
        };
        let patience = match self.tell {
            Some(_) => settings.resume.min(settings.open),
            None => settings.resume,
        };
        loop {
            let pause = lost.pause(settings, patience)?;
            let again = async {
                sleep(pause).await;
                let resumed = systems.resume_session(&self.session.session_id);
                let session = match timeout(CALL, resumed).await {
                    Ok(Ok(session)) => session,
                    Ok(Err(refusal)) => return Err((Some(refusal.kind), refusal.message)),
                    Err(_) => return Err((None, "ResumeSession was not answered".to_owned())),
                };
                match dial(systems, &session.stream_url).await {
                    Ok(socket) => Ok((session, socket)),
                    Err(why) => Err((None, why)),
                }
            };
            match self.signals.unless_over(settings.goodbye, again).await? {
                Ok((session, socket)) => {
                    self.session = session;
                    return Ok(socket);
                }
                Err((Some(RefusalKind::Unknown | RefusalKind::Denied), why)) => {
                    return Err(End::Failed(format!(
                        "the connection was lost ({}) and the session cannot go on: {why}",
                        lost.why
                    )));
                }
                Err((_, why)) => lost.why = why,
            }
        }
    }

    /// The agent is told that it is over.
    async fn part(&mut self, socket: Socket) {
        let settings = &self.target.settings;
        self.machine.flag(Flag::TerminateSession, now());
        let mut pump = Pump::new(
            &mut self.machine,
            &mut self.near,
            socket,
            settings,
            &self.signals.dropped,
        );
        let parted = timeout(settings.goodbye, async {
            pump.flush().await?;
            let closed = pump.socket.close(None).await;
            closed.map_err(|error| super::socket::describe(&error))?;
            // The gateway has read it all when it closes too.
            while let Some(Ok(_)) = pump.socket.next().await {}
            Ok::<_, String>(())
        });
        let parted = parted.await;
        tracing::debug!(?parted, "said goodbye to an agent");
    }
}
