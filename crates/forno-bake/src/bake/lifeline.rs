//! The dead man's switch: a machine that hears nothing from forno ends itself.
//!
//! Two timers of the machine's own systemd, armed by its user data at every boot.
//! One ends it when forno has been silent for the grace, and is set back as long
//! as forno lives; a reboot sets it back too, because it counts from the boot.
//! The other ends it when the bake's time is over, and nobody sets it back.
//! Neither needs forno to be there, and both are transient: they live in memory
//! and are in no image.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_events::{Emitter, Event, Severity};
use forno_link::{Command, Link, capture};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Context, lock};
use crate::plan::Prepared;

/// The transient units: that of the silence, and that of the bake's time.
const SILENCE: &str = "forno-deadline";
const EXPIRY: &str = "forno-expiry";

/// On top of the time that SSH may take to answer after a boot.
const MARGIN: Duration = Duration::from_mins(5);

/// Between two signs of life, at most.
const EVERY: Duration = Duration::from_mins(3);

/// For one of them.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a machine of this bake lives on without a sign of life.
pub(super) fn grace(prepared: &Prepared) -> Duration {
    prepared
        .orphan_after
        .unwrap_or_else(|| prepared.recipe.builder.timeouts.connect.get() + MARGIN)
}

/// What arms both timers, as a script for a machine's boot. A machine without
/// systemd has no switch, and must not fail for it.
pub(super) fn arming(grace: Duration, expires: Timestamp) -> String {
    // Spans, not times of day: a time of day that has passed would never come.
    // A timer's usual dependencies would make it wait for a boot that waits for
    // this; `--no-block` does not hold for timers.
    format!(
        r#"command -v systemd-run >/dev/null || exit 0
arm() {{
  systemd-run --quiet --unit="$1" --on-active="$2" --timer-property=AccuracySec=1s \
    --timer-property=DefaultDependencies=no systemctl poweroff || true
}}
left=$(({expires} - $(date +%s)))
[ "$left" -gt 0 ] || left=1
arm {SILENCE} {grace}
arm {EXPIRY} "$left"
"#,
        expires = expires.as_second(),
        grace = grace.as_secs().max(1),
    )
}

/// Restarting a timer of a span begins the span anew, without a moment in
/// which there is none. A stub is the computer that it runs on.
fn sign_of_life() -> Command {
    Command::shell(format!(
        r#"[ -z "${{FORNO_STUB:-}}" ] && command -v systemd-run >/dev/null || exit 0
systemctl restart {SILENCE}.timer"#
    ))
    .sudo(true)
    .timeout(PATIENCE)
}

fn removal() -> Command {
    Command::shell(format!(
        r#"[ -z "${{FORNO_STUB:-}}" ] && command -v systemd-run >/dev/null || exit 0
systemctl stop {SILENCE}.timer {EXPIRY}.timer
[ -z "$(systemctl list-units --all --plain --no-legend {SILENCE}.timer {EXPIRY}.timer)" ]"#
    ))
    .sudo(true)
    .timeout(PATIENCE)
}

/// Signs of life to one machine, for as long as this is held.
pub(crate) struct Lifeline {
    every: Duration,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Lifeline {
    pub(super) fn start(ctx: &Context, link: &Arc<dyn Link>) -> Self {
        let grace = grace(&ctx.prepared);
        let every = EVERY.min(grace / 4);
        let signs = signs(
            Arc::clone(link),
            grace,
            every,
            ctx.emitter.clone(),
            ctx.cancel.clone(),
        );
        Self {
            every,
            task: Mutex::new(Some(AbortOnDropHandle::new(tokio::spawn(signs)))),
        }
    }

    /// Takes the switch out of the machine, which is about to become an image.
    /// From here on only the ledger and the tags know of it.
    pub(super) async fn cut(&self, link: &dyn Link, cancel: &CancellationToken) -> Option<String> {
        drop(lock(&self.task).take());
        match capture(link, removal(), cancel).await {
            Ok(output) if output.exit.success() => None,
            Ok(output) => Some(output.reason()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// While nothing is done on the machine nobody else notices that the
    /// connection is lost, and the signs of life with it.
    pub(super) async fn mend(&self, link: &dyn Link, cancel: &CancellationToken) {
        loop {
            tokio::time::sleep(self.every).await;
            if !link.is_connected() {
                let watch = forno_link::Watch::new(|_| {});
                if let Err(error) = link.reconnect(self.every, &watch, cancel).await {
                    tracing::debug!(%error, "the kept machine does not answer");
                }
            }
        }
    }
}

/// One after the other. A failed one is no matter, and soon tried again; only
/// where the machine may be about to end for it, somebody is told.
async fn signs(
    link: Arc<dyn Link>,
    grace: Duration,
    every: Duration,
    emitter: Emitter,
    cancel: CancellationToken,
) {
    let mut heard = Instant::now();
    let mut told = false;
    loop {
        let begun = Instant::now();
        let trouble = match capture(&*link, sign_of_life(), &cancel).await {
            Ok(output) if output.exit.success() => None,
            Ok(output) => Some(output.reason()),
            Err(error) if error.is_cancelled() => return,
            Err(error) => Some(error.to_string()),
        };
        let pause = match trouble {
            None => {
                heard = begun;
                told = false;
                every
            }
            Some(trouble) => {
                tracing::debug!(trouble, "a sign of life did not arrive");
                if !told && heard.elapsed() > grace / 2 {
                    told = true;
                    emitter.emit(Event::Note {
                        severity: Severity::Warning,
                        message: format!(
                            "the machine has not heard of forno for {}, and ends itself after {}: {trouble}",
                            spoken(heard.elapsed()),
                            spoken(grace)
                        ),
                        hint: None,
                    });
                }
                every / 4
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.cancelled() => return,
        }
    }
}

fn spoken(span: Duration) -> String {
    format!("{:?}", Duration::from_secs(span.as_secs()))
}
