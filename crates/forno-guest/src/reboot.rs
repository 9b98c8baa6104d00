//! A restart: asked for, noticed, and over when the machine answers with
//! another boot id. Losing the connection is no proof of it, and neither is
//! getting one: the old system may still be there for a while.

use std::time::{Duration, Instant};

use forno_link::{Command, Link, Watch, capture};

use crate::{CloudInit, ReadyOptions, StepContext, StepError, ready};

/// Detached, so that the answer arrives before the connection ends. Where no
/// service manager listens, the program that goes straight to the kernel.
const REBOOT: &str = r#"set -e
if [ -d /run/systemd/system ]; then how='systemctl reboot || reboot -f'
elif command -v reboot >/dev/null; then how='reboot || reboot -f'
else how='shutdown -r now'; fi
if command -v setsid >/dev/null; then detach=setsid; else detach=; fi
$detach sh -c "sleep 1; $how" >/dev/null 2>&1 </dev/null &
"#;

/// A stub has the kernel of the computer that it runs on, and says its boots itself.
const BOOT_ID: &str = r#"cat "${FORNO_STUB_BOOT_ID:-/proc/sys/kernel/random/boot_id}""#;

const POLL: Duration = Duration::from_secs(1);

/// For a question to a machine that may be going down.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    link: &dyn Link,
    within: Duration,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let started = Instant::now();
    let before = boot_id(link, ctx).await?;
    let asked = capture(link, Command::shell(REBOOT).sudo(true), &ctx.cancel).await;
    match asked {
        Ok(output) if output.exit.success() => {}
        Ok(output) => {
            let reason = output.reason();
            return Err(StepError::guest(format!(
                "cannot restart the machine: {reason}"
            )));
        }
        Err(error) if error.is_lost() => {}
        Err(error) => return Err(error.into()),
    }
    let beat = Beat::new(ctx, started, within);
    loop {
        beat.tell("going down");
        match boot_id(link, ctx).await {
            Ok(now) if now != before => return booted(link, within, started, ctx).await,
            Err(error) if error.is_cancelled() => return Err(error),
            Ok(_) => {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = ctx.cancel.cancelled() => {}
                }
            }
            // Also a command that the dying system refuses.
            Err(_) => {
                let left = within.saturating_sub(started.elapsed());
                let told = ctx.clone();
                let watch = Watch::new(move |attempt| {
                    Beat::new(&told, started, within).tell(&attempt.problem.to_string());
                });
                link.reconnect(left, &watch, &ctx.cancel).await?;
            }
        }
    }
}

/// Answering is not done booting: cloud-init still writes its state, and what
/// runs at boot may hold the package manager.
async fn booted(
    link: &dyn Link,
    within: Duration,
    started: Instant,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let options = ReadyOptions {
        within: within.saturating_sub(started.elapsed()),
        cloud_init: CloudInit::Tolerate,
        package_lock: true,
    };
    ready::wait(link, &options, ctx).await.map(|_| ())
}

struct Beat<'a> {
    ctx: &'a StepContext,
    started: Instant,
    within: Duration,
}

impl<'a> Beat<'a> {
    fn new(ctx: &'a StepContext, started: Instant, within: Duration) -> Self {
        Self {
            ctx,
            started,
            within,
        }
    }

    fn tell(&self, state: &str) {
        let waited = self.started.elapsed();
        self.ctx.waiting(
            "the machine to come back",
            state.to_owned(),
            waited,
            self.within,
        );
    }
}

async fn boot_id(link: &dyn Link, ctx: &StepContext) -> Result<String, StepError> {
    let command = Command::shell(BOOT_ID).timeout(PATIENCE);
    let output = capture(link, command, &ctx.cancel).await?;
    let id = output.stdout.trim().to_owned();
    if output.exit.success() && !id.is_empty() {
        return Ok(id);
    }
    let reason = output.reason();
    Err(StepError::guest(format!(
        "cannot read the boot id: {reason}"
    )))
}
