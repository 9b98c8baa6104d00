//! A command from its start to its end. Three things at once: its output is asked
//! for, its input is brought, its time and cancellation are watched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ask::Sends;
use super::frame::Input;
use super::host::Host;
use super::input::{Batch, Packer, Uploading};
use super::objects::Objects;
use super::output::Follower;
use super::text::{END, GIVE, Text};
use crate::ErrorKind;
use crate::link::{Command, Exit, Sink};

/// Between SIGTERM and SIGKILL, in tenths of a second.
const GRACE: u64 = 50;

/// For the script that ends a command.
const ENDING: Duration = Duration::from_secs(30);

/// How long a batch of input waits on the machine for room.
const ROOM: Duration = Duration::from_secs(10);

/// How often a batch that failed is brought again.
const TRIES: u32 = 3;

/// What a command may cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Of standard output, in bytes.
    pub(super) output: Option<u64>,
}

pub(super) async fn run(
    host: Arc<Host>,
    command: Command,
    limits: Limits,
    sink: Box<dyn Sink>,
    cancel: &CancellationToken,
) -> Result<Exit, ErrorKind> {
    if command.script.len() > crate::remote::MAX_COMMAND {
        return Err(ErrorKind::CommandTooLong(command.script.len()));
    }
    host.check()?;
    // A task of its own, so that a caller who stops waiting does not leave the
    // command running: dropping this future triggers the token.
    let token = cancel.child_token();
    let guard = token.clone().drop_guard();
    let task = tokio::spawn(supervise(host, command, limits, sink, token));
    let result = task.await;
    drop(guard);
    result.unwrap_or_else(|error| Err(ErrorKind::Lost(format!("internal: {error}"))))
}

/// One command on the machine.
pub(super) struct Run {
    pub(super) host: Arc<Host>,
    pub(super) id: String,
    pub(super) objects: Option<Objects>,
    pub(super) start: Start,
    moved: Mutex<Instant>,
    uploading: Uploading,
}

/// What has become of the start.
#[derive(Debug, Default)]
pub(super) struct Start {
    pub(super) sent: AtomicBool,
    /// It was answered at the first time.
    pub(super) answered: AtomicBool,
}

impl Start {
    /// A copy of it may still be on its way.
    fn may_come(&self) -> bool {
        !self.answered.load(Ordering::Relaxed)
    }
}

impl Run {
    /// A byte moved.
    pub(super) fn moved(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn still_for(&self) -> Duration {
        if self.uploading.is_underway() {
            self.moved();
        }
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.elapsed()
    }

    pub(super) fn text(&self) -> Text {
        self.host.text(&self.id)
    }

    /// Ends it, as far as the machine can be reached.
    async fn end(&self) {
        if !self.start.sent.load(Ordering::Relaxed) {
            return;
        }
        let mut text = self.text();
        text.number("tenths", GRACE);
        text.set("again", if self.start.may_come() { "yes" } else { "no" });
        text.add(END);
        let ended = self.host.order(&text, ENDING).await;
        tracing::debug!(ended, id = self.id, "ended a command");
    }

    /// Brings the input, after the start has been answered. Ends early when
    /// nobody reads it.
    async fn feed(
        &self,
        begun: oneshot::Receiver<Option<Batch>>,
        packer: Option<Packer>,
    ) -> Result<(), ErrorKind> {
        let (sender, mut batches) = mpsc::channel(1);
        let pack = async move {
            if let Some(mut packer) = packer {
                while let Some(batch) = packer.batch_or_end().await? {
                    if sender.send(batch).await.is_err() {
                        break;
                    }
                }
            }
            Ok(())
        };
        let bring = async move {
            let Ok(left) = begun.await else { return Ok(()) };
            let mut read = true;
            if let Some(batch) = left {
                read = self.bring(batch).await?;
            }
            while let Some(batch) = batches.recv().await {
                // What nobody reads is still consumed, as over a closed pipe.
                if read {
                    read = self.bring(batch).await?;
                } else if let Some(objects) = &self.objects {
                    objects.delete(batch.keys()).await;
                }
            }
            Ok(())
        };
        tokio::try_join!(pack, bring).map(|((), ())| ())
    }

    /// Whether the command reads on.
    async fn bring(&self, batch: Batch) -> Result<bool, ErrorKind> {
        let mut tries = 0;
        let read = loop {
            let list = batch.list(self.objects.as_ref()).await?;
            let mut text = self.text();
            batch.prepare(&mut text);
            text.add(GIVE);
            text.add(&format!(
                "room {} || {{ said_input busy; over running; }}",
                batch.first()
            ));
            batch.write(&mut text, &list);
            text.add("over running");
            let mut sends = Sends::default();
            let answer = self
                .host
                .ask(&text, ROOM + batch.work(), &mut sends)
                .await?;
            match answer.input {
                Some(Input::Taken) => {
                    self.moved();
                    break true;
                }
                Some(Input::Busy) => {}
                Some(Input::Failed(why)) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(ErrorKind::Remote {
                            what: "take the input in".into(),
                            detail: why,
                        });
                    }
                    sleep(Duration::from_secs(1)).await;
                }
                // It is over, or gone: whoever follows it finds out.
                Some(Input::Closed) | None => break false,
            }
        };
        if let Some(objects) = &self.objects {
            objects.delete(batch.keys()).await;
        }
        Ok(read)
    }
}

async fn supervise(
    host: Arc<Host>,
    command: Command,
    limits: Limits,
    sink: Box<dyn Sink>,
    cancel: CancellationToken,
) -> Result<Exit, ErrorKind> {
    let started = Instant::now();
    let _active = host.enter();
    let id = format!("{:032x}", rand::random::<u128>());
    let timing = &host.target.timing;
    let objects = host.target.store.clone();
    let objects = objects.map(|store| Objects::new(store, &id, timing.urls));
    let run = Run {
        host: Arc::clone(&host),
        id,
        objects,
        start: Start::default(),
        moved: Mutex::new(started),
        uploading: Uploading::default(),
    };
    let ended = attend(&run, command, limits, sink, &cancel, started).await;
    match &ended {
        Ok(_) => host.collected(run.id.clone(), run.start.may_come()),
        Err(ErrorKind::Lost(_)) => {}
        Err(_) => run.end().await,
    }
    if let Some(objects) = &run.objects {
        objects.clear().await;
    }
    ended
}

async fn attend(
    run: &Run,
    command: Command,
    limits: Limits,
    sink: Box<dyn Sink>,
    cancel: &CancellationToken,
    started: Instant,
) -> Result<Exit, ErrorKind> {
    let Command {
        script,
        sudo,
        stdin,
        public_stdin,
        timeout,
        idle_timeout,
    } = command;
    let mut packer = Packer::new(
        stdin,
        run.objects.clone(),
        public_stdin,
        run.uploading.clone(),
    );
    let whole = async {
        let first = match &mut packer {
            Some(packer) => Some(packer.at_once().await?),
            None => None,
        };
        let (begun, beginning) = oneshot::channel();
        let follower = Follower::new(run, sink, limits, idle_timeout);
        let follow = follower.follow(&script, sudo, first, begun);
        tokio::pin!(follow);
        tokio::select! {
            biased;
            ended = &mut follow => ended,
            fed = run.feed(beginning, packer) => {
                fed?;
                follow.await
            }
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ErrorKind::Cancelled),
        ended = whole => ended,
        () = expire(timeout, started) => Err(ErrorKind::TimedOut(timeout.unwrap_or_default())),
    }
}

async fn expire(timeout: Option<Duration>, started: Instant) {
    match timeout {
        Some(timeout) => sleep_until(started + timeout).await,
        None => std::future::pending().await,
    }
}
