//! Waiting for a machine that has just booted: cloud-init is still at work when
//! sshd answers, and unattended jobs hold the package manager's locks.

use std::time::{Duration, Instant};

use forno_link::{Command, Exit, Link, Output, Watch, capture};

use crate::{StepContext, StepError};

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

const ABSENT: &str = "forno: cloud-init is not installed";

/// Its own exit status: 0 done, 1 failed, 2 done with errors that it got over.
const STATUS: &str = r"if ! command -v cloud-init >/dev/null 2>&1; then
  echo 'forno: cloud-init is not installed'; exit 0
fi
exec cloud-init status --wait --long
";

/// What it says about its errors, wherever this version keeps it.
const ERRORS: &str = r"cat /run/cloud-init/result.json 2>/dev/null
grep -hE 'WARNING|ERROR|CRITICAL|Traceback|Error:' /var/log/cloud-init.log 2>/dev/null | tail -n 12
exit 0
";

/// Who holds which lock. They are locks of fcntl, which `flock` does not see;
/// the kernel lists them by inode.
const LOCKS: &str = include_str!("ready/locks.sh");

const POLL: Duration = Duration::from_secs(1);

pub(crate) async fn wait(
    link: &dyn Link,
    options: &ReadyOptions,
    ctx: &StepContext,
) -> Result<ReadyReport, StepError> {
    let started = Instant::now();
    let mut report = ReadyReport {
        cloud_init: "not waited for".into(),
        waited: Duration::ZERO,
        warnings: Vec::new(),
    };
    if crate::stub::home(link, ctx).await?.is_some() {
        report.cloud_init = "not installed".into();
        return Ok(report);
    }
    if options.cloud_init != CloudInit::Skip {
        let output = cloud_init(link, options, started, ctx).await?;
        report.cloud_init = status(&output);
        let broken = !output.exit.success() && output.exit != Exit::Code(2);
        if !output.exit.success() {
            let details = capture(link, Command::shell(ERRORS).sudo(true), &ctx.cancel).await?;
            let lines: Vec<String> = output
                .stdout
                .lines()
                .chain(details.stdout.lines())
                .map(|line| line.trim_start_matches('.').to_owned())
                .filter(|line| !line.trim().is_empty())
                .collect();
            let message = format!("cloud-init says `{}`", report.cloud_init);
            if broken && options.cloud_init == CloudInit::Require {
                return Err(StepError::guest(message).tail(lines).hint(
                    "its log is /var/log/cloud-init.log; user data that cloud-init does not understand is the usual cause",
                ));
            }
            report
                .warnings
                .push(format!("{message}\n{}", lines.join("\n")));
        }
    }
    if options.package_lock {
        free_packages(link, options, started, ctx).await?;
    }
    report.waited = started.elapsed();
    Ok(report)
}

/// Waits for it; across a restart that cloud-init itself may order.
async fn cloud_init(
    link: &dyn Link,
    options: &ReadyOptions,
    started: Instant,
    ctx: &StepContext,
) -> Result<Output, StepError> {
    let beat = |state: &str| {
        ctx.waiting(
            "cloud-init",
            state.to_owned(),
            started.elapsed(),
            options.within,
        );
    };
    loop {
        beat("running");
        let asking = capture(link, Command::shell(STATUS), &ctx.cancel);
        tokio::pin!(asking);
        let mut ticks = tokio::time::interval(ctx.heartbeat);
        ticks.tick().await;
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                _ = ticks.tick() => beat("running"),
            }
        };
        match answer {
            Ok(output) => return Ok(output),
            Err(error) if error.is_lost() => {
                beat("the connection is lost: connecting again");
                let left = options.within.saturating_sub(started.elapsed());
                link.reconnect(left, &Watch::none(), &ctx.cancel).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn status(output: &Output) -> String {
    if output.stdout.contains(ABSENT) {
        return "not installed".into();
    }
    output
        .stdout
        .lines()
        .rev()
        .find_map(|line| line.trim_start_matches('.').strip_prefix("status:"))
        .map_or_else(|| output.reason(), |status| status.trim().to_owned())
}

async fn free_packages(
    link: &dyn Link,
    options: &ReadyOptions,
    started: Instant,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let mut told = None::<Instant>;
    loop {
        let output = capture(link, Command::shell(LOCKS), &ctx.cancel).await?;
        if !output.exit.success() {
            let reason = output.reason();
            return Err(StepError::guest(format!(
                "cannot see the package manager's locks: {reason}"
            )));
        }
        let Some(holder) = output.stdout.lines().next() else {
            return Ok(());
        };
        if told.is_none_or(|told| told.elapsed() >= ctx.heartbeat) {
            told = Some(Instant::now());
            let waited = started.elapsed();
            ctx.waiting(
                "the package manager",
                holder.to_owned(),
                waited,
                options.within,
            );
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = ctx.cancel.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stdout: &str, code: u32) -> String {
        status(&Output {
            exit: Exit::Code(code),
            stdout: stdout.into(),
            stderr: String::new(),
            dropped: 0,
        })
    }

    #[test]
    fn the_status_is_found_behind_the_dots() {
        assert_eq!(
            said(
                ".....\nstatus: done\nboot_status_code: enabled-by-generator\n",
                0
            ),
            "done"
        );
        assert_eq!(
            said("......status: error\ndetail:\n('scripts-user', x)\n", 1),
            "error"
        );
        assert_eq!(
            said("forno: cloud-init is not installed\n", 0),
            "not installed"
        );
        assert_eq!(said("", 1), "exit status 1");
    }
}
