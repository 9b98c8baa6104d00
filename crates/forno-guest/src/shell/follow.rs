//! From the start of a run to its end, over as many connections as it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forno_events::Stream;
use forno_link::{Command, Error, Exit, Link, Watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::run::{self, Input, Run};
use super::told::{End, Told};
use crate::error::StepErrorKind;
use crate::output::Tap;
use crate::{RunState, StepContext, StepError};

/// How often what was taken in is remembered.
const REMEMBER: Duration = Duration::from_millis(500);

/// What the machine keeps of it, at most, beside what has not come yet.
const RELEASE: u64 = 1 << 20;

/// Followers that ended early on a live connection, one after the other.
const FOLLOWERS: u32 = 5;

/// Starts that never reached the machine.
const STARTS: u32 = 3;

/// For ending a run: over the connection that is there, and for another one.
const ENDING: Duration = Duration::from_secs(15);
const REACHING: Duration = Duration::from_secs(20);

/// For the last words of what was ended.
const FAREWELL: Duration = Duration::from_secs(3);

/// Runs that may still be on a machine that did not answer.
#[derive(Debug, Default)]
pub(crate) struct Loose(Mutex<Vec<Run>>);

impl Loose {
    fn add(&self, run: Run) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(run);
    }

    /// Ends them; none must be beside another that is to begin.
    pub(crate) async fn end(&self, link: &dyn Link, ctx: &StepContext) -> Result<(), StepError> {
        loop {
            let last =
                |all: &Mutex<Vec<Run>>| all.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(run) = last(&self.0) else {
                return Ok(());
            };
            let ended = forno_link::capture(link, run.end(link), &ctx.cancel).await;
            if let Err(error) = ended {
                self.add(run);
                return Err(error.into());
            }
        }
    }
}

/// A run that has ended, until somebody has taken note of it.
#[derive(Debug)]
pub(crate) struct Held {
    line: Line,
    run: Run,
    loose: Arc<Loose>,
}

impl Held {
    /// Removes its folder.
    pub(crate) async fn collected(self) {
        let Self { line, run, loose } = self;
        let Line { input, task, leash } = line;
        input.collected();
        let removed = match task {
            Some(task) => matches!(tokio::time::timeout(ENDING, task).await, Ok(Ok(Ok(_)))),
            None => false,
        };
        drop(leash);
        if !removed {
            loose.add(run);
        }
    }
}

/// A connection that carries a run's output.
#[derive(Debug)]
struct Line {
    input: Input,
    /// None: it is over.
    task: Option<JoinHandle<Result<Exit, Error>>>,
    /// Ends the follower, and with the first one also the run.
    leash: DropGuard,
}

pub(super) struct Follow<'a> {
    pub(super) link: &'a Arc<dyn Link>,
    pub(super) ctx: &'a StepContext,
    pub(super) tap: Tap,
    run: Run,
    attempt: u32,
    /// When the step's time is over.
    until: Instant,
    loose: &'a Arc<Loose>,
    told: Arc<Told>,
    saved: Option<(u64, u64)>,
    released: u64,
    releasing: Option<JoinHandle<()>>,
    /// Nobody has seen to its end.
    running: bool,
}

/// How one connection ended.
enum Over {
    Ended(End, Line),
    /// The runner itself failed before there was a run.
    Refused(Exit),
    /// There is no such run; whether the machine restarted.
    Gone(bool),
    /// The follower ended, the connection lives.
    Left,
    Lost(Error),
    Failed(Error),
    Cancelled(Line),
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        link: &'a Arc<dyn Link>,
        ctx: &'a StepContext,
        sudo: bool,
        one: &super::Attempt<'a>,
    ) -> Self {
        let (run, told) = match one.resume {
            Some(state) => (
                Run::of(state, sudo),
                Told::from_offsets(state.stdout, state.stderr),
            ),
            None => (Run::new(ctx, sudo), Told::default()),
        };
        Self {
            link,
            ctx,
            tap: Tap::new(ctx),
            run,
            attempt: one.number,
            until: one.until,
            loose: one.loose,
            told: Arc::new(told),
            saved: None,
            released: 0,
            releasing: None,
            running: false,
        }
    }

    /// Starts the run or takes up that of another process, and stays with it. One
    /// that is taken up and never began is started from the archive, if there is
    /// one: by then nobody else can start it. An exit without anything held is that of a runner that could not begin.
    pub(super) async fn see_through(
        &mut self,
        archive: Option<&Bytes>,
        mut attach: bool,
    ) -> Result<(Exit, Option<Held>), StepError> {
        let (mut left, mut starts) = (0, 1);
        loop {
            let before = self.told.offsets();
            let over = match archive {
                Some(archive) if !attach => self.start(archive).await?,
                _ => self.attach().await,
            };
            self.run.begun |= self.told.begun();
            if self.told.offsets() != before {
                left = 0;
            }
            match over {
                Over::Ended(end, line) => {
                    let dropped = end.dropped;
                    let held = self.ended(dropped, line);
                    return match end.exit {
                        Some(exit) => Ok((exit, Some(held))),
                        None => Err(cut_off(Cut::Restart)),
                    };
                }
                Over::Refused(exit) => {
                    self.running = false;
                    return Ok((exit, None));
                }
                Over::Gone(restarted) => {
                    self.running = false;
                    if archive.is_none() || self.run.begun {
                        return Err(cut_off(match (restarted, archive) {
                            (true, _) => Cut::Restart,
                            (false, Some(_)) => Cut::Removed,
                            (false, None) => Cut::Unknown,
                        }));
                    }
                    if starts == STARTS {
                        return Err(StepError::guest("the script does not begin"));
                    }
                    starts += 1;
                    self.run = Run::new(self.ctx, self.run.sudo);
                    attach = false;
                }
                Over::Left => {
                    left += 1;
                    if left == FOLLOWERS {
                        let noise = self.told.noise();
                        self.end(None).await;
                        return Err(StepError::guest(format!(
                            "the script cannot be followed: {noise}"
                        )));
                    }
                    attach = true;
                }
                Over::Lost(error) => {
                    self.remember();
                    self.reconnect(error).await?;
                    attach = true;
                }
                Over::Failed(error) => {
                    self.end(None).await;
                    return Err(StepError::from(error));
                }
                Over::Cancelled(line) => {
                    self.end(Some(line)).await;
                    return Err(StepError::new(StepErrorKind::Cancelled));
                }
            }
        }
    }

    fn ended(&mut self, dropped: u64, line: Line) -> Held {
        self.running = false;
        self.remember();
        if dropped > 0 {
            self.tell(&format!(
                "at least {dropped} bytes of output were dropped: the machine's memory for them was full"
            ));
        }
        Held {
            line,
            run: self.run.clone(),
            loose: Arc::clone(self.loose),
        }
    }

    async fn start(&mut self, archive: &Bytes) -> Result<Over, StepError> {
        self.loose.end(&**self.link, self.ctx).await?;
        // Before anything can happen that would have to be found again.
        self.saved = None;
        self.remember();
        let nonce = run::nonce();
        let command = self.run.start(&**self.link, &nonce, archive.len());
        self.running = true;
        Ok(self.follow(command, archive, &nonce, true).await)
    }

    async fn attach(&mut self) -> Over {
        let nonce = run::nonce();
        let (stdout, stderr) = self.told.offsets();
        let command = self.run.attach(&**self.link, &nonce, stdout, stderr);
        self.running = true;
        self.follow(command, &Bytes::new(), &nonce, false).await
    }

    async fn follow(&mut self, command: Command, first: &Bytes, nonce: &str, starts: bool) -> Over {
        let (input, stdin) = run::open_input(first);
        let sink = Box::new(self.told.sink(&self.tap, nonce, starts));
        let stop = CancellationToken::new();
        let leash = stop.clone().drop_guard();
        let machine = Arc::clone(self.link);
        // Without an archive there is only our own word in it.
        let public = self.ctx.public || first.is_empty();
        let command = command.stdin(stdin).public_stdin(public);
        let mut task = tokio::spawn(async move { machine.exec(command, sink, &stop).await });
        let line = |task| Line { input, task, leash };
        let mut turn = tokio::time::interval(REMEMBER);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        turn.tick().await;
        let told = Arc::clone(&self.told);
        let result = loop {
            tokio::select! {
                biased;
                () = self.ctx.cancel.cancelled() => return Over::Cancelled(line(Some(task))),
                () = told.news.notified() => {
                    self.say_missed();
                    match told.end() {
                        Some(end) => return Over::Ended(end, line(Some(task))),
                        None => self.remember(),
                    }
                }
                result = &mut task => break result,
                _ = turn.tick() => self.remember(),
            }
        };
        self.say_missed();
        if let Some(end) = told.end() {
            return Over::Ended(end, line(None));
        }
        if let Some(restarted) = told.gone() {
            return Over::Gone(restarted);
        }
        match result {
            Ok(Ok(exit)) if starts && !told.begun() => Over::Refused(exit),
            Ok(Ok(_)) => Over::Left,
            Ok(Err(error)) if error.is_lost() => Over::Lost(error),
            Ok(Err(error)) => Over::Failed(error),
            Err(error) => Over::Lost(Error::new(
                self.link.peer(),
                forno_link::ErrorKind::Lost(format!("internal: {error}")),
            )),
        }
    }

    fn say_missed(&self) {
        let missed = self.told.take_missed();
        if missed > 0 {
            self.tell(&format!("{missed} bytes of output are not there any more"));
        }
    }

    fn tell(&self, text: &str) {
        self.ctx.line(Stream::Stderr, format!("forno: {text}"));
    }

    /// Up to the last whole line that was told: half a line dies with the
    /// process that holds it.
    fn state(&self) -> RunState {
        let (stdout, stderr) = self.told.offsets();
        let (half_out, half_err) = self.tap.pending();
        RunState {
            id: self.run.id.clone(),
            attempt: self.attempt,
            stdout: stdout.saturating_sub(half_out),
            stderr: stderr.saturating_sub(half_err),
        }
    }

    /// Saves how far the run has come, and lets the machine forget what is safe.
    fn remember(&mut self) {
        let state = self.state();
        let offsets = (state.stdout, state.stderr);
        if self.saved == Some(offsets) {
            return;
        }
        if let Some(runs) = &self.ctx.runs {
            runs.save(&state);
        }
        self.saved = Some(offsets);
        let sum = state.stdout + state.stderr;
        let busy = self.releasing.as_ref().is_some_and(|r| !r.is_finished());
        if sum - self.released.min(sum) < RELEASE || busy || !self.link.is_connected() {
            return;
        }
        self.released = sum;
        let link = Arc::clone(self.link);
        let command = self.run.release(&*link, state.stdout, state.stderr);
        self.releasing = Some(tokio::spawn(async move {
            let never = CancellationToken::new();
            let released = forno_link::capture(&*link, command, &never).await;
            tracing::debug!(?released, "let go of output");
        }));
    }

    /// The connection is lost, the run is not: another one, within the step's time.
    async fn reconnect(&mut self, why: Error) -> Result<(), StepError> {
        let started = Instant::now();
        // Giving up says more than the end of the time.
        let margin = Duration::from_millis(500);
        let within = self
            .until
            .saturating_duration_since(started)
            .saturating_sub(margin);
        let ctx = self.ctx.clone();
        let what = "the machine to answer again";
        ctx.waiting(what, why.to_string(), Duration::ZERO, within);
        let last = Mutex::new((Duration::ZERO, String::new()));
        let watch = Watch::new(move |attempt| {
            // There are two attempts a second; news and heartbeats are told.
            let state = attempt.problem.to_string();
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.1 == state && attempt.waited.saturating_sub(last.0) < ctx.heartbeat {
                return;
            }
            ctx.waiting(what, state.clone(), attempt.waited, within);
            *last = (attempt.waited, state);
        });
        match self.link.reconnect(within, &watch, &self.ctx.cancel).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_cancelled() => {
                self.end(None).await;
                Err(StepError::new(StepErrorKind::Cancelled))
            }
            Err(error) => {
                self.running = false;
                self.loose.add(self.run.clone());
                let hint = error.hint().map(|hint| format!("; {hint}"));
                let hint = format!("no other connection: {error}{}", hint.unwrap_or_default());
                Err(StepError::from(why).hint(hint))
            }
        }
    }

    /// Ends the run on the machine, also when that takes another connection. What
    /// it says meanwhile is still told.
    async fn end(&mut self, line: Option<Line>) {
        self.running = false;
        let told = Arc::clone(&self.told);
        let farewell = line.map(|Line { input, task, leash }| {
            tokio::spawn(async move {
                let Some(mut task) = task else { return };
                while told.end().is_none() {
                    tokio::select! {
                        () = told.news.notified() => {}
                        _ = &mut task => return,
                    }
                }
                input.collected();
                let _ = task.await;
                drop(leash);
            })
        });
        let mut ended = self.link.is_connected() && order_end(&**self.link, &self.run).await;
        if !ended {
            let never = CancellationToken::new();
            let again = self.link.reconnect(REACHING, &Watch::none(), &never).await;
            ended = again.is_ok() && order_end(&**self.link, &self.run).await;
        }
        if !ended {
            self.loose.add(self.run.clone());
        }
        if let Some(mut farewell) = farewell
            && tokio::time::timeout(FAREWELL, &mut farewell).await.is_err()
        {
            farewell.abort();
        }
    }
}

impl Drop for Follow<'_> {
    /// Nobody waits any more: the run ends, as far as it can be reached.
    fn drop(&mut self) {
        if !self.running {
            return;
        }
        let (link, run) = (Arc::clone(self.link), self.run.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { order_end(&*link, &run).await });
        }
    }
}

/// Why the end of a run cannot be known.
#[derive(Clone, Copy)]
enum Cut {
    Restart,
    Removed,
    /// It was begun by another process.
    Unknown,
}

fn cut_off(cut: Cut) -> StepError {
    let why = match cut {
        Cut::Restart => "the machine restarts",
        Cut::Removed => "what it had in memory on the machine was removed",
        Cut::Unknown => "nothing of it is on the machine any more",
    };
    let error = StepError::new(StepErrorKind::CutOff {
        what: "the script".to_owned(),
        why: why.to_owned(),
    });
    match cut {
        Cut::Restart => error
            .hint("a restart is a step of its own: `reboot = {}`, and what follows it is another"),
        Cut::Removed | Cut::Unknown => error,
    }
}

async fn order_end(link: &dyn Link, run: &Run) -> bool {
    let never = CancellationToken::new();
    let ended = forno_link::capture(link, run.end(link), &never);
    let ended = tokio::time::timeout(ENDING, ended).await;
    tracing::debug!(?ended, run = %run.id, "ended a run");
    matches!(ended, Ok(Ok(output)) if output.exit.success())
}
