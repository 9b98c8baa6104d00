//! A `forno` that runs, and one that has ended.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far beyond what any bake here takes: what is not done by then hangs.
const DEADLINE: Duration = Duration::from_mins(30);

/// Output as it comes in, for those who wait for a line.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    closed: bool,
}

impl Output {
    fn text(&self) -> String {
        self.lines.lock().unwrap().text.clone()
    }
}

/// A running `forno`. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    command: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        let told = format!("forno {}", arguments.join(" "));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {told}: {error}"));
        let stdout = Arc::new(Output::default());
        let stderr = Arc::new(Output::default());
        let readers = vec![
            follow(child.stdout.take().unwrap(), &stdout),
            follow(child.stderr.take().unwrap(), &stderr),
        ];
        Self {
            child,
            stdout,
            stderr,
            readers,
            command: told,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("the process is there");
    }

    /// Waits until standard output holds this.
    pub(crate) fn until_stdout(&self, text: &str) -> String {
        self.until(&self.stdout, text)
    }

    /// Waits until standard error holds this.
    pub(crate) fn until_stderr(&self, text: &str) -> String {
        self.until(&self.stderr, text)
    }

    fn until(&self, output: &Output, wanted: &str) -> String {
        let begun = Instant::now();
        let mut lines = output.lines.lock().unwrap();
        while !lines.text.contains(wanted) {
            assert!(
                !lines.closed && begun.elapsed() < DEADLINE,
                "`{wanted}` never came from {}\n--- this output ---\n{}\n--- stderr ---\n{}",
                self.command,
                lines.text,
                if std::ptr::eq(output, &raw const *self.stderr) {
                    String::new()
                } else {
                    self.stderr.text()
                },
            );
            lines = output
                .news
                .wait_timeout(lines, Duration::from_secs(1))
                .unwrap()
                .0;
        }
        lines.text.clone()
    }

    /// Waits for the end.
    pub(crate) fn finish(self) -> Finished {
        self.finish_watched().0
    }

    /// Waits for the end; with the most memory that it was seen to hold, in KiB.
    pub(crate) fn finish_watched(mut self) -> (Finished, usize) {
        let begun = Instant::now();
        let mut peak = 0;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status;
            }
            peak = most_memory(self.child.id()).unwrap_or(peak);
            if begun.elapsed() > DEADLINE {
                drop(self.child.kill());
                panic!(
                    "{} did not end\n--- stdout ---\n{}\n--- stderr ---\n{}",
                    self.command,
                    self.stdout.text(),
                    self.stderr.text()
                );
            }
            pause();
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader ends with the pipe");
        }
        let finished = Finished {
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            command: self.command.clone(),
        };
        (finished, peak)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone in most cases.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests are no async code")]
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// The kernel's high-water mark of a process.
fn most_memory(id: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn follow(pipe: impl Read + Send + 'static, output: &Arc<Output>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let mut lines = output.lines.lock().unwrap();
            lines.text.push_str(&String::from_utf8_lossy(&line));
            drop(lines);
            output.news.notify_all();
            line.clear();
        }
        output.lines.lock().unwrap().closed = true;
        output.news.notify_all();
    })
}

/// How a `forno` ended.
#[derive(Debug)]
pub(crate) struct Finished {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ended with {}\n--- stdout ---\n{}\n--- stderr ---\n{}",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}

impl Finished {
    /// Ended with this exit code, or the test fails with all that was said.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Standard error says all of this.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}`: {self}");
        }
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{error} in {line}: {self}"))
            })
            .collect()
    }
}
