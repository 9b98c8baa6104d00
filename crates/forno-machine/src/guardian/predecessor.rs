//! What a host finds in its run folder from the one before it.
//!
//! A guardian that is still cleaning up is waited for; one that hangs is
//! killed, but only after its recorded process id and start time show that it
//! is that very process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{Error, ErrorKind};

/// The guardian ends within 20 seconds by itself.
const PATIENCE: Duration = Duration::from_secs(25);
const AFTER_KILL: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    start_time: u64,
}

pub(super) fn lock_path(run_dir: &Path) -> PathBuf {
    run_dir.join("guardian.lock")
}

fn record_path(run_dir: &Path) -> PathBuf {
    run_dir.join("guardian.json")
}

/// Notes who the guardian is.
pub(super) fn record(run_dir: &Path, pid: u32) -> Result<(), Error> {
    let path = record_path(run_dir);
    let record = Record {
        pid,
        start_time: start_time(pid).unwrap_or(0),
    };
    let text = serde_json::to_vec(&record)
        .map_err(|e| Error::io("cannot write the guardian's record", e.into()))?;
    fs_err::write(&path, text).map_err(|e| Error::file("write", &path, e))
}

/// Waits until no guardian of this run folder lives.
pub(super) async fn outlive(run_dir: &Path) -> Result<(), Error> {
    let path = lock_path(run_dir);
    let lock = File::create(&path).map_err(|e| Error::file("open", &path, e))?;
    let mut deadline = Instant::now() + PATIENCE;
    let mut killed = false;
    while lock.try_lock().is_err() {
        if Instant::now() > deadline {
            if killed {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("the former guardian of {} does not end", run_dir.display()),
                ));
            }
            kill_recorded(run_dir);
            killed = true;
            deadline += AFTER_KILL;
        }
        sleep(Duration::from_millis(20)).await;
    }
    match fs_err::remove_file(record_path(run_dir)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", &record_path(run_dir), e))
        }
        _ => Ok(()),
    }
}

fn kill_recorded(run_dir: &Path) {
    let Some(record) = fs_err::read(record_path(run_dir))
        .ok()
        .and_then(|text| serde_json::from_slice::<Record>(&text).ok())
    else {
        return;
    };
    if start_time(record.pid) != Some(record.start_time) {
        return;
    }
    if let Some(pid) = i32::try_from(record.pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// When a process started, in clock ticks since this computer did.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_start_time_is_known_and_steady() {
        let pid = std::process::id();
        let first = start_time(pid).unwrap();
        assert!(first > 0);
        assert_eq!(start_time(pid), Some(first));
    }
}
