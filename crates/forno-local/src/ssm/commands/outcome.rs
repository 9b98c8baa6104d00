//! How commands end, and what is kept of their output: what agents tell.

use forno_machine::Ended;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::model::Standing;

/// What agents keep of each stream, in characters.
pub(super) const STDOUT: usize = 24_000;
pub(super) const STDERR: usize = 8_000;
/// What a stopped script's status is told as: that of SIGKILL in a shell.
const STOPPED: i32 = 137;
/// What an agent says of a process that did not survive a restart.
const GONE: &str = "document process failed unexpectedly: document worker timed out, \
                    check [ssm-document-worker]/[ssm-session-worker] log for crash reason";

/// How an invocation ended.
pub(super) struct Outcome {
    pub(super) standing: Standing,
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// How a script ended for its agent.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Itself(Ended),
    TimedOut,
    Cancelled,
}

impl Outcome {
    /// Of what was never run.
    pub(super) fn without_words(standing: Standing) -> Self {
        Self {
            standing,
            code: -1,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    /// Of what did not survive a restart of its machine.
    pub(super) fn gone(stdout: String) -> Self {
        Self {
            standing: Standing::Failed,
            code: 1,
            stdout,
            stderr: GONE.to_owned(),
        }
    }

    pub(super) fn of(end: End, stdout: String, stderr: String) -> Self {
        let (standing, code, words) = match end {
            End::Cancelled => (Standing::Cancelled, STOPPED, None),
            // An agent cannot tell a script that says so from one that it stopped.
            End::TimedOut | End::Itself(Ended::Code(STOPPED)) => {
                (Standing::ExecutionTimedOut, STOPPED, None)
            }
            End::Itself(Ended::Code(0)) => (Standing::Success, 0, None),
            End::Itself(Ended::Code(code)) => {
                (Standing::Failed, code, Some(format!("exit status {code}")))
            }
            End::Itself(Ended::Signal(signal)) => {
                (Standing::Failed, -1, Some(format!("signal: {signal}")))
            }
            End::Itself(Ended::Lost) => (Standing::Failed, -1, Some("it is lost".to_owned())),
        };
        let mut stderr = stderr;
        if let Some(words) = words {
            if !stderr.is_empty() && !stderr.ends_with('\n') {
                stderr.push('\n');
            }
            stderr.push_str("failed to run commands: ");
            stderr.push_str(&words);
            cut(&mut stderr, STDERR);
        }
        Self {
            standing,
            code,
            stdout,
            stderr,
        }
    }
}

/// Reads to the end, and keeps so many characters of the start. What is no
/// UTF-8 is replaced.
pub(super) async fn keep_start(
    from: Option<impl AsyncRead + Unpin>,
    most: usize,
    kept: &mut String,
) {
    let Some(mut from) = from else { return };
    let mut start = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    // No character has more bytes.
    let room = most * 4;
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let take = count.min(room - start.len());
                if take == 0 {
                    continue;
                }
                start.extend_from_slice(&buffer[..take]);
            }
        }
        let text = String::from_utf8_lossy(&start);
        text.as_ref().clone_into(kept);
        cut(kept, most);
    }
}

fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn the_start_of_output_is_kept() {
        let kept = async |bytes: &[u8], most| {
            let mut kept = String::new();
            keep_start(Some(bytes), most, &mut kept).await;
            kept
        };
        assert_eq!(kept(b"", 5).await, "");
        assert_eq!(kept(b"hello", 5).await, "hello");
        assert_eq!(kept("größer".as_bytes(), 3).await, "grö");
        assert_eq!(kept(b"\xff\xff\xff", 2).await, "\u{fffd}\u{fffd}");
        assert_eq!(kept(&vec![b'x'; 200_000], STDOUT).await.len(), STDOUT);
        let long = "ß".repeat(100_000);
        assert_eq!(kept(long.as_bytes(), STDOUT).await.chars().count(), STDOUT);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_start_of_what_was_written(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            most in 1_usize..60,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut kept = String::new();
            runtime.block_on(keep_start(Some(bytes.as_slice()), most, &mut kept));
            let whole: String = String::from_utf8_lossy(&bytes).chars().take(most).collect();
            prop_assert_eq!(kept, whole);
        }
    }

    #[test]
    fn what_agents_say_of_ends() {
        let told = |end, stderr: &str| {
            let outcome = Outcome::of(end, String::new(), stderr.to_owned());
            (outcome.standing.details(), outcome.code, outcome.stderr)
        };
        let failed = "failed to run commands: exit status 7".to_owned();
        assert_eq!(
            told(End::Itself(Ended::Code(0)), "x"),
            ("Success", 0, "x".to_owned())
        );
        assert_eq!(
            told(End::Itself(Ended::Code(7)), ""),
            ("Failed", 7, failed.clone())
        );
        assert_eq!(
            told(End::Itself(Ended::Code(7)), "x").2,
            format!("x\n{failed}")
        );
        assert_eq!(told(End::TimedOut, "").0, "ExecutionTimedOut");
        assert_eq!(
            told(End::Itself(Ended::Code(137)), "").0,
            "ExecutionTimedOut"
        );
        assert_eq!(
            told(End::Cancelled, "x"),
            ("Cancelled", 137, "x".to_owned())
        );
        let long = told(End::Itself(Ended::Code(1)), &"x".repeat(STDERR)).2;
        assert_eq!(long.len(), STDERR, "what the agent adds is cut too");
    }
}
