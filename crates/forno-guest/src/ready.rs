//! Waiting for a machine that has just booted.

use std::time::{Duration, Instant};

use forno_link::{Command, Link, capture};

use crate::{StepContext, StepError, StepErrorKind};

#[derive(Clone, Debug)]
pub struct ReadyOptions {
    pub within: Duration,
    pub cloud_init: CloudInit,
    /// Wait until nobody holds the package manager's locks.
    pub package_lock: bool,
}

impl Default for ReadyOptions {
    fn default() -> Self {
        Self {
            within: Duration::from_mins(10),
            cloud_init: CloudInit::Require,
            package_lock: true,
        }
    }
}

/// What an error of cloud-init means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudInit {
    /// The machine is not ready; its recoverable errors are warnings.
    Require,
    /// Any error is a warning.
    Tolerate,
    /// Not waited for.
    Skip,
}

#[derive(Clone, Debug)]
pub struct ReadyReport {
    /// `done`, `disabled`, `not installed`, …
    pub cloud_init: String,
    pub waited: Duration,
    pub warnings: Vec<String>,
}

/// One look. `cloud-init status` names its state on the first line; newer ones
/// tell recoverable errors by exit status 2. The lock is tried and let go.
const LOOK: &str = r#"
if command -v cloud-init >/dev/null; then
    said=$(cloud-init status --long 2>&1); code=$?
    echo "cloud-init $(echo "$said" | sed -n 's/^status: *//p' | head -n 1)"
    echo "code $code"
    echo "detail $(echo "$said" | tr '\n' ' ')"
else
    echo "cloud-init not installed"
fi
for lock in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock /var/lib/rpm/.rpm.lock; do
    [ -e "$lock" ] || continue
    inode=$(stat -c %i "$lock")
    awk -v inode="$inode" '{ n = split($6, at, ":"); if (at[n] == inode) { print $5; exit } }' /proc/locks | while read -r pid; do
        echo "lock $lock held by $(cat "/proc/$pid/comm" 2>/dev/null || echo somebody) ($pid)"
    done
done
true
"#;

const PACE: Duration = Duration::from_secs(1);

/// What one look told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    cloud_init: String,
    code: u32,
    detail: String,
    lock: Option<String>,
}

pub(crate) async fn wait(
    link: &dyn Link,
    options: &ReadyOptions,
    ctx: &StepContext,
) -> Result<ReadyReport, StepError> {
    let started = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let command = Command::shell(LOOK)
            .sudo(true)
            .timeout(Duration::from_mins(1));
        let output = capture(link, command, &ctx.cancel).await?;
        let look = Look::parse(&output.stdout);
        let waited = started.elapsed();
        let state = match look.judge(options) {
            Verdict::Ready(warnings) => {
                return Ok(ReadyReport {
                    cloud_init: look.cloud_init,
                    waited,
                    warnings,
                });
            }
            Verdict::Broken(what) => {
                return Err(StepError::guest(what).hint(
                    "see /var/log/cloud-init.log and /var/log/cloud-init-output.log on the machine",
                ));
            }
            Verdict::Busy(state) => state,
        };
        if waited >= options.within {
            return Err(StepError::new(StepErrorKind::TimedOut {
                what: format!("the machine is not ready: {state}"),
                after: options.within,
            }));
        }
        if told.is_none_or(|told| told.elapsed() >= ctx.heartbeat) {
            told = Some(Instant::now());
            ctx.waiting("machine ready", state, waited, options.within);
        }
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = ctx.cancel.cancelled() => return Err(StepError::new(StepErrorKind::Cancelled)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ready(Vec<String>),
    Busy(String),
    Broken(String),
}

impl Look {
    fn parse(text: &str) -> Self {
        let mut look = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("cloud-init", state)) => state.trim().clone_into(&mut look.cloud_init),
                Some(("code", code)) => look.code = code.parse().unwrap_or(1),
                Some(("detail", detail)) => detail.trim().clone_into(&mut look.detail),
                Some(("lock", held)) if look.lock.is_none() => look.lock = Some(held.to_owned()),
                _ => {}
            }
        }
        look
    }

    fn judge(&self, options: &ReadyOptions) -> Verdict {
        let mut warnings = Vec::new();
        if options.cloud_init != CloudInit::Skip {
            match self.cloud_init.as_str() {
                "done" | "disabled" | "not installed" => {
                    if self.code == 2 {
                        warnings.push(format!(
                            "cloud-init had recoverable errors: {}",
                            self.detail
                        ));
                    }
                }
                "error" | "degraded done" | "degraded" => {
                    let what = format!("cloud-init failed: {}", self.detail);
                    if options.cloud_init == CloudInit::Require
                        && self.cloud_init == "error"
                        && self.code != 2
                    {
                        return Verdict::Broken(what);
                    }
                    warnings.push(what);
                }
                "" => return Verdict::Busy("cloud-init says nothing yet".into()),
                other => return Verdict::Busy(format!("cloud-init: {other}")),
            }
        }
        match &self.lock {
            Some(lock) if options.package_lock => Verdict::Busy(lock.clone()),
            _ => Verdict::Ready(warnings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Verdict {
        Look::parse(text).judge(&ReadyOptions::default())
    }

    #[test]
    fn done_and_free_is_ready() {
        assert_eq!(judged("cloud-init done\ncode 0\n"), Verdict::Ready(vec![]));
        assert_eq!(judged("cloud-init not installed\n"), Verdict::Ready(vec![]));
    }

    #[test]
    fn a_held_lock_is_waited_for() {
        let text = "cloud-init done\ncode 0\nlock /var/lib/dpkg/lock held by apt-get (7)\n";
        assert_eq!(
            judged(text),
            Verdict::Busy("/var/lib/dpkg/lock held by apt-get (7)".into())
        );
    }

    #[test]
    fn errors_are_told_from_recoverable_ones() {
        assert!(matches!(
            judged("cloud-init error\ncode 1\ndetail x\n"),
            Verdict::Broken(_)
        ));
        assert!(
            matches!(judged("cloud-init done\ncode 2\ndetail x\n"), Verdict::Ready(w) if w.len() == 1)
        );
        assert!(matches!(
            judged("cloud-init running\ncode 0\n"),
            Verdict::Busy(_)
        ));
    }
}
