//! What machines leave on this computer: processes, mounts, loop devices.
//!
//! All of a test's machines have paths below its temporary folder, so whatever names
//! that folder is theirs.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::run::pause;

const DEADLINE: Duration = Duration::from_mins(2);

/// Waits until it holds; the last answer is told when it never does.
#[track_caller]
pub(crate) fn eventually<T: PartialEq + std::fmt::Debug>(expected: &T, look: impl Fn() -> T) {
    let begun = Instant::now();
    loop {
        let found = look();
        if found == *expected {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "still {found:?}");
        pause();
    }
}

/// Everything on this computer that names the folder.
pub(crate) fn traces(folder: &Path) -> Vec<String> {
    let folder = folder
        .to_str()
        .expect("a temporary folder has a plain name");
    let mut found: Vec<String> = processes(folder)
        .into_iter()
        .map(|(id, command)| format!("process {id}: {command}"))
        .collect();
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(folder))
            .map(|line| format!("mount {line}")),
    );
    for device in fs_err::read_dir("/sys/block").expect("/sys/block") {
        let backing = device.expect("an entry").path().join("loop/backing_file");
        // Loop devices without a file, and other devices, have none.
        if let Ok(file) = std::fs::read_to_string(backing)
            && file.contains(folder)
        {
            found.push(format!("loop device of {}", file.trim()));
        }
    }
    found
}

/// Ends what is still there of a test, whatever became of it: commands of a killed
/// stub run on, as they do on a machine.
pub(super) fn clear(folder: &Path) {
    for (id, _) in processes(&folder.to_string_lossy()) {
        if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // Gone by now is as good.
            let _ = kill_process(id, Signal::KILL);
        }
    }
}

fn processes(folder: &str) -> Vec<(u32, String)> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").expect("/proc") {
        let path = entry.expect("an entry").path();
        let Some(id) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        if id == own {
            continue;
        }
        // A process may end between the listing and the look.
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(folder) || String::from_utf8_lossy(&environment).contains(folder) {
            found.push((id, command));
        }
    }
    found
}
