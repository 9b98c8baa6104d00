//! Programs that mount and chroot, run so that nothing of them stays.
//!
//! They get a PID and a mount namespace of their own. The namespace's first
//! process holds the reading end of a pipe from here and ends when that closes;
//! with it every process of the namespace ends, and its mounts go. So it does
//! not matter how this process ends.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind};

const FIRST_PROCESS: &str = r#"
exec 3<&0 </dev/null
trap 'exit 143' TERM
( cat <&3 >/dev/null; kill -TERM 1 ) &
"$@" 2>&1 3<&- &
wait $!
exit $?
"#;

/// As many lines as are kept for a message.
const KEPT: usize = 12;

/// Runs a program to its end; every line that it says goes to `said`.
pub(super) async fn run(
    argv: &[&str],
    said: &mut (dyn FnMut(&str) + Send),
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let program = argv.first().copied().unwrap_or_default();
    let mut child = Command::new("unshare")
        .args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"])
        .args(["--", "sh", "-c", FIRST_PROCESS, "sh"])
        .args(argv)
        .env("PATH", crate::doctor::PROGRAMS)
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::io(format!("cannot run {program}"), e))?;
    let mut lifeline = child.stdin.take();
    let mut last = std::collections::VecDeque::new();
    let mut lines = child.stdout.take().map(|out| BufReader::new(out).lines());
    let mut cancelled = false;
    loop {
        let next = async {
            match &mut lines {
                Some(lines) => lines.next_line().await.ok().flatten(),
                None => None,
            }
        };
        tokio::select! {
            () = cancel.cancelled(), if !cancelled => {
                cancelled = true;
                lifeline = None;
            }
            line = next => {
                let Some(line) = line else { break };
                said(&line);
                last.push_back(line);
                if last.len() > KEPT {
                    last.pop_front();
                }
            }
        }
    }
    let status = child
        .wait()
        .await
        .map_err(|e| Error::io(format!("cannot wait for {program}"), e))?;
    drop(lifeline);
    if cancelled {
        return Err(Error::cancelled("the making of the source disk"));
    }
    if !status.success() {
        let words = Vec::from(last).join("\n");
        return Err(Error::new(
            ErrorKind::Source,
            format!("{program} failed ({status}); its last words:\n{words}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_status_and_cancellation_are_told() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let never = CancellationToken::new();
        let mut lines = Vec::new();
        let mut keep = |line: &str| lines.push(line.to_owned());
        run(&["sh", "-c", "echo a; echo b >&2"], &mut keep, &never)
            .await
            .unwrap();
        assert_eq!(lines, ["a", "b"]);
        let failed = run(&["sh", "-c", "echo why; exit 3"], &mut |_| {}, &never).await;
        assert!(failed.unwrap_err().to_string().ends_with("\nwhy"));
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        // The background process would outlive its parent outside a namespace.
        let script = "sleep 1000 & echo started; wait";
        let stopped = run(&["sh", "-c", script], &mut |_| stop.cancel(), &cancel).await;
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
