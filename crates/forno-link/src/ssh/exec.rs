//! A command on a channel: three things at once, none of which may wait for
//! another: its output is read (a channel that nobody reads blocks the whole
//! connection), its input is written, its time and cancellation are watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use crate::ErrorKind;
use crate::link::{Command, Exit, Sink, Stdin, Stream};
use crate::remote::{self, Announcement};
use crate::transfer::CHUNK;

/// After a command ended, a process that it left behind may hold its output
/// open; so long of silence is waited for, and so long at most.
const SILENCE: Duration = Duration::from_secs(3);
const LINGER: Duration = Duration::from_secs(30);

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// For the command that ends another, and for the channel to close after it.
const ENDING: Duration = Duration::from_secs(20);

pub(super) async fn run(
    session: Arc<Session>,
    open: Duration,
    command: Command,
    sink: Box<dyn Sink>,
    cancel: &CancellationToken,
) -> Result<Exit, ErrorKind> {
    if command.script.len() > remote::MAX_COMMAND {
        return Err(ErrorKind::CommandTooLong(command.script.len()));
    }
    // A task of its own, so that a caller who stops waiting does not leave the
    // command running: dropping this future triggers the token.
    let token = cancel.child_token();
    let guard = token.clone().drop_guard();
    let task = tokio::spawn(supervise(session, open, command, sink, token));
    let result = task.await;
    drop(guard);
    result.unwrap_or_else(|error| Err(ErrorKind::Lost(format!("internal: {error}"))))
}

async fn supervise(
    session: Arc<Session>,
    open: Duration,
    command: Command,
    sink: Box<dyn Sink>,
    cancel: CancellationToken,
) -> Result<Exit, ErrorKind> {
    let started = Instant::now();
    let permit = tokio::select! {
        () = cancel.cancelled() => return Err(ErrorKind::Cancelled),
        permit = Arc::clone(&session.channels).acquire_owned() => permit,
    };
    let channel = tokio::select! {
        () = cancel.cancelled() => return Err(ErrorKind::Cancelled),
        channel = session.channel(open) => channel?,
    };
    let nonce = format!("{:032x}", rand::random::<u128>());
    let line = remote::wrap(&command.script, &nonce, command.sudo);
    if channel.exec(true, line).await.is_err() {
        return Err(session.lost());
    }
    let (read, write) = channel.split();
    let activity = Arc::new(Activity::new(started));
    let (group_sender, group) = watch::channel(None);
    let mut reader = tokio::spawn(
        Reader {
            channel: read,
            sink,
            announcement: Announcement::new(&nonce),
            group: group_sender,
            activity: Arc::clone(&activity),
        }
        .read(),
    );
    let mut running = Running {
        session: &session,
        open,
        write: &write,
        group,
    };

    let (why, reader) = {
        let input = feed(&write, command.stdin, &activity);
        let input = async {
            match input.await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => (ErrorKind::Cancelled, Some(reader)),
            ended = &mut reader => {
                drop(permit);
                let ended = ended.unwrap_or_else(|error| Ended::Failed(ErrorKind::Lost(format!("internal: {error}"))));
                match ended {
                    Ended::By(exit) => return Ok(exit),
                    Ended::Lost => return Err(session.lost()),
                    Ended::Failed(kind) => (kind, None),
                }
            }
            error = input => {
                let what = "cannot read the input".into();
                (ErrorKind::Local { what, error }, Some(reader))
            }
            () = expire(command.timeout, started) => {
                (ErrorKind::TimedOut(command.timeout.unwrap_or_default()), Some(reader))
            }
            () = activity.stalled(command.idle_timeout) => {
                (ErrorKind::Stalled(command.idle_timeout.unwrap_or_default()), Some(reader))
            }
        }
    };
    running.end(reader).await;
    Err(why)
}

async fn expire(timeout: Option<Duration>, started: Instant) {
    match timeout {
        Some(timeout) => tokio::time::sleep_until(started + timeout).await,
        None => std::future::pending().await,
    }
}

/// When a byte last moved.
struct Activity {
    started: Instant,
    last: AtomicU64,
}

impl Activity {
    fn new(started: Instant) -> Self {
        Self {
            started,
            last: AtomicU64::new(0),
        }
    }

    fn now(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Ends when nothing moved for so long.
    async fn stalled(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let over = self.started + last + limit;
            if Instant::now() >= over {
                return;
            }
            tokio::time::sleep_until(over).await;
        }
    }
}

async fn feed(
    write: &ChannelWriteHalf<Msg>,
    stdin: Stdin,
    activity: &Activity,
) -> std::io::Result<()> {
    // A failed write means that the command or the connection is gone: the
    // reader knows which.
    match stdin {
        Stdin::Empty => {}
        Stdin::Bytes(mut bytes) => {
            while !bytes.is_empty() {
                let chunk = bytes.split_to(bytes.len().min(CHUNK));
                if write.data_bytes(chunk).await.is_err() {
                    return Ok(());
                }
                activity.now();
            }
        }
        Stdin::Stream(mut chunks) => {
            while let Some(chunk) = chunks.recv().await {
                if write.data_bytes(chunk?).await.is_err() {
                    return Ok(());
                }
                activity.now();
            }
        }
    }
    let _ = write.eof().await;
    Ok(())
}

enum Ended {
    By(Exit),
    Lost,
    Failed(ErrorKind),
}

struct Reader {
    channel: ChannelReadHalf,
    sink: Box<dyn Sink>,
    announcement: Announcement,
    group: watch::Sender<Option<u32>>,
    activity: Arc<Activity>,
}

impl Reader {
    /// Until the channel closes, never only until the exit status: output may
    /// follow it.
    async fn read(mut self) -> Ended {
        let mut exit = None;
        let mut linger_until = None;
        loop {
            let message = match linger_until {
                None => self.channel.wait().await,
                Some(until) => {
                    let patience = SILENCE.min(until - Instant::now().min(until));
                    let Ok(message) = timeout(patience, self.channel.wait()).await else {
                        tracing::debug!("a process left behind holds the output open");
                        break;
                    };
                    message
                }
            };
            let written = match message {
                Some(ChannelMsg::Data { data }) => self.stdout(data).await,
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => {
                    self.activity.now();
                    self.sink.write(Stream::Stderr, data).await
                }
                Some(ChannelMsg::Failure) => {
                    return Ended::Failed(ErrorKind::Denied("run a command".into()));
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    exit = Some(Exit::Code(exit_status));
                    linger_until = Some(Instant::now() + LINGER);
                    Ok(())
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    exit = Some(Exit::Signal(signal(&signal_name)));
                    linger_until = Some(Instant::now() + LINGER);
                    Ok(())
                }
                Some(ChannelMsg::Close) | None => break,
                Some(_) => Ok(()),
            };
            if let Err(error) = written {
                return Ended::Failed(ErrorKind::Local {
                    what: "cannot keep the output".into(),
                    error,
                });
            }
        }
        let rest = self.announcement.finish();
        if !rest.is_empty()
            && let Err(error) = self.sink.write(Stream::Stdout, rest).await
        {
            return Ended::Failed(ErrorKind::Local {
                what: "cannot keep the output".into(),
                error,
            });
        }
        exit.map_or(Ended::Lost, Ended::By)
    }

    async fn stdout(&mut self, data: Bytes) -> std::io::Result<()> {
        self.activity.now();
        let (group, data) = self.announcement.filter(data);
        if group.is_some() {
            let _ = self.group.send(group);
        }
        if data.is_empty() {
            return Ok(());
        }
        self.sink.write(Stream::Stdout, data).await
    }
}

/// A command that is to be ended.
struct Running<'a> {
    session: &'a Session,
    open: Duration,
    write: &'a ChannelWriteHalf<Msg>,
    group: watch::Receiver<Option<u32>>,
}

impl Running<'_> {
    /// `reader` is missing when it gave up, which the command knows nothing of.
    async fn end(&mut self, reader: Option<JoinHandle<Ended>>) {
        let over = reader.as_ref().is_some_and(JoinHandle::is_finished);
        if !over && !self.session.is_closed() {
            // The command may not have announced itself yet.
            let group = timeout(GRACE, self.group.wait_for(Option::is_some)).await;
            if let Ok(Ok(group)) = group.map(|g| g.map(|g| *g))
                && let Some(group) = group
            {
                let killed = timeout(ENDING, self.terminate(group)).await;
                tracing::debug!(group, ?killed, "terminated a command");
            }
        }
        let _ = self.write.close().await;
        if let Some(mut reader) = reader {
            tokio::select! {
                _ = &mut reader => {}
                () = sleep(GRACE) => reader.abort(),
            }
        }
    }

    async fn terminate(&self, group: u32) -> Result<(), ErrorKind> {
        let tenths = u32::try_from(GRACE.as_millis() / 100).unwrap_or(50);
        let mut channel = self.session.channel(self.open).await?;
        channel
            .exec(false, remote::terminate(group, tenths))
            .await
            .map_err(|_| self.session.lost())?;
        let _ = channel.eof().await;
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::ExtendedData { data, .. } = message {
                tracing::warn!(said = %String::from_utf8_lossy(&data), "ending a command");
            }
        }
        Ok(())
    }
}

/// Without `SIG`.
pub(crate) fn signal(name: &Sig) -> String {
    match name {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
