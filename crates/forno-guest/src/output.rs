//! From chunks of bytes to lines: each becomes an event, and the last few are
//! kept for the message of a failure.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use forno_events::Stream;
use forno_link::Sink;

use crate::StepContext;

/// Lines kept for a message.
const TAIL: usize = 15;

/// A line longer than this is shown in pieces.
const LONGEST: usize = 8 * 1024;

/// A sink for a command's output. Clones share what they have seen.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    ctx: StepContext,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: VecDeque<String>,
}

impl Tap {
    pub(crate) fn new(ctx: &StepContext) -> Self {
        Self {
            ctx: ctx.clone(),
            state: Arc::default(),
        }
    }

    pub(crate) fn push(&self, stream: Stream, chunk: &[u8]) {
        let mut state = self.lock();
        let mut pending = std::mem::take(state.pending(stream));
        pending.extend_from_slice(chunk);
        let mut rest = pending.as_slice();
        loop {
            let (line, after) = match rest.iter().position(|&b| b == b'\n') {
                Some(end) if end <= LONGEST => (&rest[..end], &rest[end + 1..]),
                _ if rest.len() > LONGEST => rest.split_at(LONGEST),
                _ => break,
            };
            self.line(&mut state, stream, line);
            rest = after;
        }
        *state.pending(stream) = rest.to_vec();
    }

    /// How many bytes of an unfinished line each stream holds.
    pub(crate) fn pending(&self) -> (u64, u64) {
        let state = self.lock();
        (state.stdout.len() as u64, state.stderr.len() as u64)
    }

    /// A line that did not come from the command.
    pub(crate) fn say(&self, line: &str) {
        let mut state = self.lock();
        for line in line.lines() {
            self.line(&mut state, Stream::Stdout, line.as_bytes());
        }
    }

    fn line(&self, state: &mut State, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        // A progress bar rewrites its line: what stood there last counts.
        let text = text.trim_end_matches('\r');
        let text = text.rsplit('\r').next().unwrap_or(text).to_owned();
        // What is said while it is being ended does not say why.
        if !text.trim().is_empty() && !self.ctx.cancel.is_cancelled() {
            if state.tail.len() == TAIL {
                state.tail.pop_front();
            }
            state.tail.push_back(text.clone());
        }
        self.ctx.line(stream, text);
    }

    /// Nothing more comes; gives the last lines.
    pub(crate) fn finish(&self) -> Vec<String> {
        let mut state = self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(state.pending(stream));
            if !rest.is_empty() {
                self.line(&mut state, stream, &rest);
            }
        }
        state.tail.drain(..).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Console => &mut self.stdout,
        }
    }
}

#[async_trait]
impl Sink for Tap {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> io::Result<()> {
        self.push(stream, &chunk);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use forno_events::{Emitter, Event, StepId};
    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<String>, Vec<String>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let emitter = Emitter::new(move |event| {
            if let Event::Output { line, .. } = event {
                sink.lock().unwrap().push(line);
            }
        });
        let ctx = StepContext::new(StepId::new("s"), emitter, CancellationToken::new());
        let tap = Tap::new(&ctx);
        for chunk in chunks {
            tap.push(Stream::Stdout, chunk);
        }
        let tail = tap.finish();
        let seen = seen.lock().unwrap().clone();
        (seen, tail)
    }

    #[test]
    fn lines_progress_bars_and_the_rest() {
        let (seen, tail) = lines(&[b"one\r\ntw", b"o\n\n10%\r50%\r100%\nrest"]);
        assert_eq!(seen, ["one", "two", "", "100%", "rest"]);
        assert_eq!(tail, ["one", "two", "100%", "rest"]);
    }

    #[test]
    fn a_line_without_end_is_shown_in_pieces() {
        let long = vec![b'x'; LONGEST * 3];
        let (seen, _) = lines(&[&long]);
        assert_eq!(seen.concat().len(), LONGEST * 3);
        assert!(seen.iter().all(|line| line.len() <= LONGEST));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_lines_are_the_same(text in "[a-z\n]{0,60}", cut in 1_usize..9) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(lines(&chunks).0, expected);
        }
    }
}
