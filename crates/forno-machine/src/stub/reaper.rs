//! What ends with a stub.
//!
//! A machine that is turned off takes every process along. A stub's commands run
//! on this computer, where one that made itself independent of its session would
//! stay. So each boot of a stub has a process beside it that holds one end of a
//! pipe; when the other end closes, because the boot is over or because this
//! process was killed, it ends whatever carries the stub's mark in its
//! environment and removes what stands for the stub's memory.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::scratch::Scratch;
use crate::Error;

/// `$1` is the mark, `$2` the folder.
const REAP: &str = r#"trap '' INT TERM HUP
while read -r _; do :; done
turn=0
while [ $turn -lt 200 ]; do
  found=$(grep -lszxF -- "$1" /proc/[0-9]*/environ)
  [ -n "$found" ] || break
  for one in $found; do one=${one%/environ}; kill -KILL "${one#/proc/}"; done
  turn=$((turn + 1)); sleep 0.05
done
rm -rf -- "$2"
"#;

/// So long its end is waited for; it goes on by itself.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Reaper(Child);

impl Reaper {
    pub(super) fn start(scratch: &Scratch) -> Result<Self, Error> {
        let (name, value) = scratch.mark();
        let mut mark = std::ffi::OsString::from(name);
        mark.push("=");
        mark.push(value);
        Command::new("sh")
            .args(["-c", REAP, "forno-stub-reaper"])
            .arg(mark)
            .arg(&scratch.memory)
            .env_clear()
            .env("PATH", crate::doctor::PROGRAMS)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(|e| Error::io("cannot run sh", e))
    }

    /// The boot is over.
    pub(super) async fn finish(mut self) {
        drop(self.0.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.0.wait()).await;
        tracing::debug!(?ended, "reaped a stub");
    }
}
