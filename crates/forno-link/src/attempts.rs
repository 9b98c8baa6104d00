//! Trying until a machine can be reached, as it comes up: each attempt that failed is
//! shown, and the last one says why it was given up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind};

/// An attempt that failed and will be followed by another.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub peer: &'a str,
    /// From 1.
    pub number: u32,
    pub problem: &'a ErrorKind,
    pub waited: Duration,
    /// The whole time allowed.
    pub within: Duration,
}

/// Is told of each failed attempt.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn(Attempt<'_>) + Send + Sync>);

impl Watch {
    pub fn new(tell: impl Fn(Attempt<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub fn none() -> Self {
        Self::new(|_| {})
    }

    fn tell(&self, attempt: Attempt<'_>) {
        (self.0)(attempt);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// Attempts at one machine.
pub(crate) struct Attempts<'a> {
    pub(crate) peer: String,
    /// The whole time allowed.
    pub(crate) within: Duration,
    pub(crate) watch: &'a Watch,
    pub(crate) cancel: &'a CancellationToken,
}

impl Attempts<'_> {
    /// Until one succeeds. `pause` says how long to wait after a problem, or nothing
    /// for one that will not pass; `silence` is the problem of an only attempt that
    /// the end of the time cut short.
    pub(crate) async fn until<T, F>(
        self,
        mut attempt: impl FnMut() -> F,
        silence: impl Fn() -> ErrorKind,
        mut pause: impl FnMut(&ErrorKind) -> Option<Duration>,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, ErrorKind>>,
    {
        let Self {
            peer,
            within,
            watch,
            cancel,
        } = self;
        let started = Instant::now();
        let deadline = started + within;
        let mut last = None;
        let mut number = 0;
        loop {
            number += 1;
            let attempt = tokio::time::timeout_at(deadline, attempt());
            let problem = tokio::select! {
                () = cancel.cancelled() => return Err(Error::new(peer, ErrorKind::Cancelled)),
                attempt = attempt => match attempt {
                    Ok(Ok(reached)) => return Ok(reached),
                    Ok(Err(problem)) => problem,
                    // The one before says more.
                    Err(_) => last.take().unwrap_or_else(&silence),
                },
            };
            let Some(pause) = pause(&problem) else {
                return Err(Error::new(peer, problem));
            };
            let waited = started.elapsed();
            if waited + pause >= within {
                return Err(Error::new(
                    peer,
                    ErrorKind::GaveUp {
                        waited,
                        attempts: number,
                        last: Box::new(problem),
                    },
                ));
            }
            watch.tell(Attempt {
                peer: &peer,
                number,
                problem: &problem,
                waited,
                within,
            });
            last = Some(problem);
            tokio::select! {
                () = cancel.cancelled() => return Err(Error::new(peer, ErrorKind::Cancelled)),
                () = sleep(pause) => {}
            }
        }
    }
}
