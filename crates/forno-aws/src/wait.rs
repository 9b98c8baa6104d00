//! Waiting until something is so.
//!
//! A wait has a deadline and a steady interval, never a number of attempts. It tells
//! on the way what it waits for, in which state that is, how long it has waited and
//! until when it will, so that nobody ever watches a silent terminal. EC2 is
//! eventually consistent: what we made a moment ago may not be found for a while, and
//! for the length of a grace period that is no news. Only throttling slows the poll
//! down; a flaky network is borne for a time, because reading again harms nothing.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};
use crate::instance::StateReason;

const INTERVAL: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(150);
/// A network that was away for two minutes is no reason to throw a bake away.
const PATIENCE: Duration = Duration::from_mins(5);
const BEAT: Duration = Duration::from_secs(10);
const SLOWEST: Duration = Duration::from_secs(20);

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe<T> {
    Ready(T),
    /// Not yet; this is its state now, in a word or two.
    Pending(String),
    /// EC2 does not know it: too early, or gone.
    Missing,
    /// It will never be ready.
    Failed {
        state: String,
        reason: Option<StateReason>,
    },
}

/// A sign of life of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// What is waited for, such as `the machine to run`.
    pub what: String,
    /// Of which resource.
    pub resource: Option<String>,
    /// In which state it is now.
    pub state: String,
    pub waited: Duration,
    /// From the start of the wait.
    pub deadline: Duration,
}

/// How to wait, and who hears of it.
pub struct Wait<'a> {
    what: String,
    resource: Option<String>,
    deadline: Duration,
    interval: Duration,
    grace: Duration,
    patience: Duration,
    beat: Duration,
    cancel: CancellationToken,
    heartbeat: Box<dyn FnMut(Heartbeat) + Send + 'a>,
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("what", &self.what)
            .field("resource", &self.resource)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Why a wait ended without what was waited for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitError {
    #[error(
        "waited {} for {what}{}: still {state}",
        human(*.waited),
        of(.resource.as_deref())
    )]
    TimedOut {
        what: String,
        resource: Option<String>,
        state: String,
        waited: Duration,
    },
    #[error("cancelled while waiting for {what}{}", of(.resource.as_deref()))]
    Cancelled {
        what: String,
        resource: Option<String>,
    },
    #[error("waiting for {what}{}: EC2 does not know it", of(.resource.as_deref()))]
    Missing {
        what: String,
        resource: Option<String>,
    },
    #[error(
        "waiting for {what}{}: it is {state}{}",
        of(.resource.as_deref()),
        because(.reason.as_ref())
    )]
    Failed {
        what: String,
        resource: Option<String>,
        state: String,
        reason: Option<StateReason>,
    },
    #[error(transparent)]
    Gateway(#[from] Error),
}

impl WaitError {
    /// What to do about it, for the line `hint: …`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { reason, .. } => reason.as_ref()?.hint().map(str::to_owned),
            Self::Gateway(error) => error.hint(),
            _ => None,
        }
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// EC2's own reason for a failed state.
    pub fn reason(&self) -> Option<&StateReason> {
        match self {
            Self::Failed { reason, .. } => reason.as_ref(),
            _ => None,
        }
    }
}

fn of(resource: Option<&str>) -> String {
    resource.map(|id| format!(" ({id})")).unwrap_or_default()
}

fn because(reason: Option<&StateReason>) -> String {
    reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default()
}

fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0) => format!("{} ms", duration.as_millis()),
        (0, s) => format!("{s} s"),
        (m, 0) => format!("{m} min"),
        (m, s) => format!("{m} min {s} s"),
    }
}

impl<'a> Wait<'a> {
    /// For `what` (to be read after "waiting for") at most `deadline` long.
    pub fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Self {
            what: what.into(),
            resource: None,
            deadline,
            interval: INTERVAL,
            grace: GRACE,
            patience: PATIENCE,
            beat: BEAT,
            cancel: CancellationToken::new(),
            heartbeat: Box::new(|_| {}),
        }
    }

    /// Of which resource.
    pub fn of(mut self, resource: impl fmt::Display) -> Self {
        self.resource = Some(resource.to_string());
        self
    }

    /// The steady interval between two looks.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long not being found is no news; zero for what others made.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long in a row the endpoint may be out of reach or out of order.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub fn cancelled_by(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Called when the wait turns out to be one, at each change of state, and at
    /// least every `beat` seconds.
    pub fn on_heartbeat(mut self, heartbeat: impl FnMut(Heartbeat) + Send + 'a) -> Self {
        self.heartbeat = Box::new(heartbeat);
        self
    }

    /// How far apart heartbeats without news are at most.
    pub fn beat(mut self, beat: Duration) -> Self {
        self.beat = beat;
        self
    }

    /// Looks until it is ready.
    pub async fn until<T, F, P>(self, mut look: P) -> Result<T, WaitError>
    where
        F: Future<Output = Result<Probe<T>, Error>>,
        P: FnMut() -> F,
    {
        let mut run = Run::start(self);
        loop {
            let answer = run.bounded(look()).await?;
            let state = match answer {
                Ok(Probe::Ready(value)) => return Ok(value),
                Ok(Probe::Pending(state)) => {
                    run.calm();
                    state
                }
                Ok(Probe::Missing) => run.missing()?,
                Ok(Probe::Failed { state, reason }) => {
                    return Err(WaitError::Failed {
                        what: run.wait.what,
                        resource: run.wait.resource,
                        state,
                        reason,
                    });
                }
                Err(error) if error.kind() == Kind::NotFound => run.missing()?,
                Err(error) if error.kind().is_transient() => run.trouble(error)?,
                Err(error) => return Err(error.into()),
            };
            run.pause(state).await?;
        }
    }

    /// Makes a call that changes something, again and again while it is refused for
    /// a reason that passes (`DependencyViolation` until an interface is gone,
    /// `NotFound` until a new group is known everywhere) or throttled.
    ///
    /// An unknown outcome ends it: whoever calls has to look first.
    pub async fn while_refused<T, F, P>(
        self,
        passes: impl Fn(&Error) -> bool,
        mut call: P,
    ) -> Result<T, WaitError>
    where
        F: Future<Output = Result<T, Error>>,
        P: FnMut() -> F,
    {
        let mut run = Run::start(self);
        loop {
            let state = match run.bounded(call()).await? {
                Ok(value) => return Ok(value),
                Err(error) if error.kind() == Kind::Throttled => run.trouble(error)?,
                Err(error) if passes(&error) => {
                    run.calm();
                    error.code().unwrap_or("refused").to_owned()
                }
                Err(error) => return Err(error.into()),
            };
            run.pause(state).await?;
        }
    }
}

/// A wait under way.
struct Run<'a> {
    wait: Wait<'a>,
    started: Instant,
    state: String,
    last_beat: Option<Instant>,
    trouble_since: Option<Instant>,
    seen: bool,
    interval: Duration,
}

impl<'a> Run<'a> {
    fn start(wait: Wait<'a>) -> Self {
        Self {
            interval: wait.interval,
            wait,
            started: Instant::now(),
            state: "not seen yet".to_owned(),
            last_beat: None,
            trouble_since: None,
            seen: false,
        }
    }

    fn end(&self) -> Instant {
        self.started + self.wait.deadline
    }

    /// The look itself must not outlive deadline or cancellation.
    async fn bounded<O>(&mut self, look: impl Future<Output = O>) -> Result<O, WaitError> {
        let end = self.end();
        let cancel = self.wait.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(self.cancelled()),
            answer = look => Ok(answer),
            () = sleep_until(end) => Err(self.timed_out()),
        }
    }

    fn calm(&mut self) {
        self.seen = true;
        self.trouble_since = None;
        self.interval = self.wait.interval;
    }

    fn missing(&mut self) -> Result<String, WaitError> {
        self.trouble_since = None;
        self.interval = self.wait.interval;
        // Describe calls are answered by many servers: one that does not know yet
        // what another has shown is as much within the grace.
        if self.started.elapsed() < self.wait.grace {
            return Ok(if self.seen {
                "out of sight"
            } else {
                "not visible yet"
            }
            .to_owned());
        }
        Err(WaitError::Missing {
            what: self.wait.what.clone(),
            resource: self.wait.resource.clone(),
        })
    }

    fn trouble(&mut self, error: Error) -> Result<String, WaitError> {
        if error.kind() == Kind::Throttled {
            // Not counted against patience: being slowed down is being served.
            self.interval = (self.interval * 2).min(SLOWEST);
            return Ok("throttled by EC2".to_owned());
        }
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.wait.patience {
            return Err(error.into());
        }
        tracing::debug!(%error, "a look failed, looking again");
        Ok(match error.kind() {
            Kind::Unreachable => "out of reach",
            Kind::Server => "unknown, EC2 has a fault",
            _ => "unknown, no answer",
        }
        .to_owned())
    }

    async fn pause(&mut self, state: String) -> Result<(), WaitError> {
        let now = Instant::now();
        let due = self
            .last_beat
            .is_none_or(|last| now.duration_since(last) >= self.wait.beat);
        if due || state != self.state {
            self.last_beat = Some(now);
            (self.wait.heartbeat)(Heartbeat {
                what: self.wait.what.clone(),
                resource: self.wait.resource.clone(),
                state: state.clone(),
                waited: self.started.elapsed(),
                deadline: self.wait.deadline,
            });
        }
        self.state = state;
        let next = now + self.interval;
        let end = self.end();
        let cancel = self.wait.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(self.cancelled()),
            () = sleep_until(next.min(end)) => {
                if Instant::now() >= end { Err(self.timed_out()) } else { Ok(()) }
            }
        }
    }

    fn cancelled(&self) -> WaitError {
        WaitError::Cancelled {
            what: self.wait.what.clone(),
            resource: self.wait.resource.clone(),
        }
    }

    fn timed_out(&self) -> WaitError {
        WaitError::TimedOut {
            what: self.wait.what.clone(),
            resource: self.wait.resource.clone(),
            state: self.state.clone(),
            waited: self.started.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(5);

    fn error(kind: Kind) -> Error {
        Error::local(kind, "DescribeThings", "here", "as scripted")
    }

    /// Gives out a script of answers, one a look.
    struct Script<T>(Mutex<Vec<T>>, AtomicUsize);

    impl<T> Script<T> {
        fn new(mut answers: Vec<T>) -> Self {
            answers.reverse();
            Self(Mutex::new(answers), AtomicUsize::new(0))
        }

        fn next(&self) -> T {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.lock().unwrap().pop().expect("one look too many")
        }

        fn looks(&self) -> usize {
            self.1.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn states_are_told_as_they_change() {
        let script = Script::new(vec![
            Ok(Probe::Missing),
            Ok(Probe::Pending("pending".into())),
            Ok(Probe::Pending("pending".into())),
            Ok(Probe::Ready(7)),
        ]);
        let mut told = Vec::new();
        let value = Wait::new("it to run", LONG)
            .of("i-1")
            .every(SHORT)
            .beat(LONG)
            .on_heartbeat(|beat| told.push((beat.state, beat.resource, beat.deadline)))
            .until(|| async { script.next() })
            .await
            .unwrap();
        assert_eq!(value, 7);
        let resource = Some("i-1".to_owned());
        assert_eq!(
            told,
            [
                ("not visible yet".to_owned(), resource.clone(), LONG),
                ("pending".to_owned(), resource, LONG),
            ]
        );
    }

    #[tokio::test]
    async fn without_news_there_is_still_a_heartbeat() {
        let looks = AtomicUsize::new(0);
        let mut beats = 0;
        let result = Wait::new("it to run", LONG)
            .every(SHORT)
            .beat(Duration::ZERO)
            .on_heartbeat(|_| beats += 1)
            .until(|| async {
                if looks.fetch_add(1, Ordering::SeqCst) == 5 {
                    return Ok(Probe::Ready(()));
                }
                Ok(Probe::Pending("pending".into()))
            })
            .await;
        assert!(result.is_ok());
        assert_eq!(beats, 5);
    }

    #[tokio::test]
    async fn not_found_is_borne_only_within_the_grace() {
        let script = Script::new(vec![
            Err(error(Kind::NotFound)),
            Ok(Probe::Pending("pending".into())),
            Err(error(Kind::NotFound)),
            Ok(Probe::Ready(())),
        ]);
        Wait::new("it to be available", LONG)
            .every(SHORT)
            .until(|| async { script.next() })
            .await
            .unwrap();

        let script: Script<Result<Probe<()>, Error>> =
            Script::new(vec![Err(error(Kind::NotFound))]);
        let missing = Wait::new("it to be available", LONG)
            .of("ami-1")
            .grace(Duration::ZERO)
            .every(SHORT)
            .until(|| async { script.next() })
            .await
            .unwrap_err();
        assert!(matches!(missing, WaitError::Missing { .. }));
        assert_eq!(
            missing.to_string(),
            "waiting for it to be available (ami-1): EC2 does not know it"
        );
    }

    #[tokio::test]
    async fn a_deadline_ends_a_wait_and_says_the_last_state() {
        let error = Wait::new("it to run", Duration::from_millis(40))
            .of("i-1")
            .every(SHORT)
            .until(|| async { Ok::<_, Error>(Probe::<()>::Pending("pending".into())) })
            .await
            .unwrap_err();
        let WaitError::TimedOut { state, waited, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(state, "pending");
        assert!(waited >= Duration::from_millis(40));
    }

    #[tokio::test]
    async fn a_deadline_ends_also_a_look_that_hangs() {
        let error = Wait::new("it to run", Duration::from_millis(30))
            .until(std::future::pending::<Result<Probe<()>, Error>>)
            .await
            .unwrap_err();
        assert!(matches!(error, WaitError::TimedOut { .. }));
    }

    #[tokio::test]
    async fn cancelling_ends_a_look_and_a_pause() {
        for hang in [true, false] {
            let cancel = CancellationToken::new();
            let wait = Wait::new("it to run", LONG)
                .every(LONG)
                .cancelled_by(cancel.clone())
                .until(move || async move {
                    if hang {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Error>(Probe::<()>::Pending("pending".into()))
                });
            let (error, ()) = tokio::join!(wait, async {
                tokio::time::sleep(SHORT).await;
                cancel.cancel();
            });
            assert!(error.unwrap_err().is_cancelled());
        }
    }

    #[tokio::test]
    async fn a_flaky_endpoint_is_borne_for_a_time() {
        let script = Script::new(vec![
            Err(error(Kind::Unreachable)),
            Err(error(Kind::Lost)),
            Err(error(Kind::Server)),
            Ok(Probe::Ready(())),
        ]);
        Wait::new("it to run", LONG)
            .every(SHORT)
            .until(|| async { script.next() })
            .await
            .unwrap();

        let out = Wait::new("it to run", LONG)
            .every(SHORT)
            .patience(Duration::from_millis(20))
            .until(|| async { Err::<Probe<()>, _>(error(Kind::Unreachable)) })
            .await
            .unwrap_err();
        assert!(matches!(out, WaitError::Gateway(error) if error.kind() == Kind::Unreachable));
    }

    #[tokio::test]
    async fn what_will_not_pass_ends_the_wait_at_once() {
        let script: Script<Result<Probe<()>, Error>> =
            Script::new(vec![Err(error(Kind::Unauthorized))]);
        let out = Wait::new("it to run", LONG)
            .until(|| async { script.next() })
            .await
            .unwrap_err();
        assert!(matches!(out, WaitError::Gateway(_)));
        assert_eq!(script.looks(), 1);

        let out = Wait::new("it to run", LONG)
            .of("i-1")
            .until(|| async {
                Ok::<_, Error>(Probe::<()>::Failed {
                    state: "terminated".into(),
                    reason: Some(StateReason {
                        code: "Client.InternalError".into(),
                        message: "Client.InternalError: Client error on launch".into(),
                    }),
                })
            })
            .await
            .unwrap_err();
        assert_eq!(
            out.to_string(),
            "waiting for it to run (i-1): it is terminated: Client.InternalError: Client error on launch"
        );
        assert!(out.hint().unwrap().contains("KMS"));
    }

    #[tokio::test]
    async fn a_refusal_that_passes_is_outwaited() {
        let script = Script::new(vec![
            Err(error(Kind::DependencyViolation)),
            Err(error(Kind::Throttled)),
            Err(error(Kind::DependencyViolation)),
            Ok(()),
        ]);
        Wait::new("its deletion", LONG)
            .every(SHORT)
            .while_refused(
                |error| error.kind() == Kind::DependencyViolation,
                || async { script.next() },
            )
            .await
            .unwrap();
        assert_eq!(script.looks(), 4);

        let script: Script<Result<(), Error>> = Script::new(vec![Err(error(Kind::Lost))]);
        let out = Wait::new("its deletion", LONG)
            .every(SHORT)
            .while_refused(|_| false, || async { script.next() })
            .await;
        assert!(out.is_err());
        assert_eq!(script.looks(), 1);
    }
}
