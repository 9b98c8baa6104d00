//! Signals climb the ladder: stop and take down, hurry, leave.

use std::io;
use std::time::Duration;

use forno_saga::Ladder;
use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::printer::Printer;

/// `timeout` and other supervisors signal a process and then its whole group: what
/// arrives so soon after a signal is the same wish, not a more urgent one.
const ECHO: Duration = Duration::from_millis(200);

/// Signals that ask a process to end.
struct Endings {
    interrupt: Signal,
    terminate: Signal,
    /// None when whoever started us wants it to be ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Endings {
    fn new() -> io::Result<Self> {
        let hangup = if hangup_is_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Forgets what has arrived.
    fn drain(&mut self) {
        while self.next().now_or_never().is_some() {}
    }

    /// The next one, as a reason.
    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hangup => "SIGHUP, the terminal has gone",
        }
    }
}

/// Lets signals climb `ladder` until the task is aborted.
pub(crate) fn watch(ladder: Ladder) -> io::Result<JoinHandle<()>> {
    let mut endings = Endings::new()?;
    Ok(tokio::spawn(async move {
        loop {
            let reason = endings.next().await;
            // What is running says what it does about it.
            ladder.climb(reason);
            tokio::time::sleep(ECHO).await;
            endings.drain();
        }
    }))
}

/// Says why it ends, where no bake was begun that could.
pub(crate) fn tell_early_end(ladder: &Ladder, printer: Printer) {
    let reason = ladder.reason().unwrap_or_default();
    printer.say(&format!("{reason}: nothing was made"));
}

/// Returns at the first signal that asks to end.
pub(crate) async fn ending() -> io::Result<&'static str> {
    Ok(Endings::new()?.next().await)
}

/// SIGHUP is the lowest bit of the mask that the kernel shows.
fn hangup_is_ignored() -> bool {
    fs_err::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(|status| status.lines().find_map(|line| line.strip_prefix("SigIgn:")))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
