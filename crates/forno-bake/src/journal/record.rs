//! The journal of one bake: every event passes here on its way, is numbered,
//! rid of secrets, written to `events.jsonl` and to the log of its step, and
//! handed on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forno_events::{
    BakeId, Emitter, Envelope, Event, Outcome, SCHEMA_VERSION, Severity, Sink, StepId, Stream,
};
use jiff::Timestamp;
use serde_json::Value;

use super::past::Past;
use super::{Hub, Masker, StreamMask};
use crate::folder;

/// Cheap to clone; all clones write to the same files.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Inner>);

struct Inner {
    bake: BakeId,
    dir: PathBuf,
    started: Instant,
    /// What earlier processes took.
    before: Duration,
    masker: Masker,
    hub: Hub,
    state: Mutex<State>,
}

struct State {
    next_index: u64,
    events: Option<File>,
    logs: HashMap<StepId, File>,
    /// Begun and not finished, in that order.
    open: Vec<(StepId, u32, Instant)>,
    /// Few at a time.
    streams: Vec<(StepId, Stream, StreamMask)>,
    /// Lines that an earlier process has told and this one will hear again.
    again: Vec<(StepId, Stream, usize)>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal({})", self.0.bake)
    }
}

impl Journal {
    /// Begins the recording of a bake in its folder `dir`.
    pub(crate) fn create(dir: &Path, bake: BakeId, masker: Masker, hub: Hub) -> io::Result<Self> {
        Self::over(dir, bake, masker, hub, &Past::default())
    }

    /// Goes on with the recording of a process that is gone; with what that one told.
    pub(crate) fn reopen(
        dir: &Path,
        bake: BakeId,
        masker: Masker,
        hub: Hub,
    ) -> io::Result<(Self, Past)> {
        let past = Past::read(dir)?;
        let journal = Self::over(dir, bake, masker, hub, &past)?;
        Ok((journal, past))
    }

    fn over(dir: &Path, bake: BakeId, masker: Masker, hub: Hub, past: &Past) -> io::Result<Self> {
        fs_err::create_dir_all(folder::steps(dir))?;
        let events = folder::append(&folder::events(dir))?;
        // Half a line of a process that was killed would spoil the next one.
        events.set_len(past.length)?;
        Ok(Self(Arc::new(Inner {
            bake,
            dir: dir.to_owned(),
            started: Instant::now(),
            before: past.elapsed,
            masker,
            hub,
            state: Mutex::new(State {
                next_index: past.next_index,
                events: Some(events),
                logs: HashMap::new(),
                open: past
                    .open
                    .iter()
                    .map(|(step, attempt)| (step.clone(), *attempt, Instant::now()))
                    .collect(),
                streams: Vec::new(),
                again: Vec::new(),
            }),
        })))
    }

    /// Since the bake began, without the time in which no process worked on it.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.before + self.0.started.elapsed()
    }

    /// Steps that were cut off get an end of their own, so that nobody waits
    /// for one.
    pub(crate) fn close_steps(&self, outcome: Outcome) {
        for (step, attempt, elapsed) in self.open_steps() {
            self.emit(Event::StepFinished {
                step,
                outcome,
                attempt,
                elapsed_ms: millis(elapsed),
                message: None,
            });
        }
    }

    pub(crate) fn emitter(&self) -> Emitter {
        Emitter::new(self.clone())
    }

    /// The steps that have begun and not ended, with their attempt and how long
    /// they have taken, the youngest first.
    pub(crate) fn open_steps(&self) -> Vec<(StepId, u32, Duration)> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .open
            .iter()
            .rev()
            .map(|(step, attempt, since)| (step.clone(), *attempt, since.elapsed()))
            .collect()
    }

    /// The number of the next event; none while lines of this step are held back.
    pub(crate) fn position(&self, step: &StepId) -> Option<u64> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut streams = state.streams.iter().filter(|(of, ..)| of == step);
        streams
            .all(|(_, _, mask)| mask.is_clear())
            .then_some(state.next_index)
    }

    /// The output of this step will begin with what was told from that event on.
    pub(crate) fn expect_again(&self, step: &StepId, from: u64) {
        let told = super::past::output(&self.0.dir, step, from);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.again.extend(
            told.into_iter()
                .map(|(stream, lines)| (step.clone(), stream, lines)),
        );
    }

    /// A text without secrets, for what does not pass through events.
    pub(crate) fn mask(&self, text: &str) -> String {
        self.0.masker.mask(text)
    }
}

impl Sink for Journal {
    fn emit(&self, event: Event) {
        let inner = &*self.0;
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Output { step, stream, line } => {
                let lines = state.stream(&step, stream).push(&inner.masker, &line);
                state.output(inner, &step, stream, lines);
            }
            event => {
                // What a finished step still holds belongs before its end.
                match &event {
                    Event::StepStarted { step, attempt } => state.begin(step, *attempt),
                    Event::StepFinished { step, .. } => {
                        state.open.retain(|(open, ..)| open != step);
                        state.flush(inner, Some(step));
                        state.again.retain(|(of, ..)| of != step);
                    }
                    Event::StepRetry { step, .. } => {
                        state.flush(inner, Some(step));
                        state.again.retain(|(of, ..)| of != step);
                    }
                    Event::BakeFinished { .. } => state.flush(inner, None),
                    _ => {}
                }
                let event = if inner.masker.is_empty() || event.is_lossy() {
                    event
                } else {
                    masked(event, &inner.masker)
                };
                state.publish(inner, event);
            }
        }
    }
}

impl State {
    fn begin(&mut self, step: &StepId, attempt: u32) {
        match self.open.iter_mut().find(|(open, ..)| open == step) {
            Some(open) => open.1 = attempt,
            None => self.open.push((step.clone(), attempt, Instant::now())),
        }
    }

    fn flush(&mut self, inner: &Inner, only: Option<&StepId>) {
        let ended: Vec<_> = self
            .streams
            .extract_if(.., |(step, ..)| only.is_none_or(|only| only == step))
            .collect();
        for (step, stream, mut rest) in ended {
            self.output(inner, &step, stream, rest.finish());
            self.logs.remove(&step);
        }
    }

    fn stream(&mut self, step: &StepId, stream: Stream) -> &mut StreamMask {
        let known = self
            .streams
            .iter()
            .position(|(of, kind, _)| of == step && *kind == stream);
        let at = known.unwrap_or_else(|| {
            self.streams
                .push((step.clone(), stream, StreamMask::default()));
            self.streams.len() - 1
        });
        &mut self.streams[at].2
    }

    fn output(&mut self, inner: &Inner, step: &StepId, stream: Stream, lines: Vec<String>) {
        for line in lines {
            if self.is_told_again(step, stream) {
                continue;
            }
            self.log(inner, step, &line);
            self.publish(
                inner,
                Event::Output {
                    step: step.clone(),
                    stream,
                    line,
                },
            );
        }
    }

    fn is_told_again(&mut self, step: &StepId, stream: Stream) -> bool {
        let again = self
            .again
            .iter_mut()
            .find(|(of, kind, lines)| of == step && *kind == stream && *lines > 0);
        again.is_some_and(|(.., lines)| {
            *lines -= 1;
            true
        })
    }

    fn log(&mut self, inner: &Inner, step: &StepId, line: &str) {
        if !self.logs.contains_key(step) {
            match folder::append(&folder::step_log(&inner.dir, step)) {
                Ok(file) => {
                    self.logs.insert(step.clone(), file);
                }
                // The line still goes to `events.jsonl` and to the listeners.
                Err(error) => {
                    tracing::warn!(%error, "cannot open the log of a step");
                    return;
                }
            }
        }
        if let Some(file) = self.logs.get_mut(step) {
            let mut bytes = Vec::with_capacity(line.len() + 1);
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            if let Err(error) = file.write_all(&bytes) {
                tracing::warn!(%error, "cannot write the log of a step");
            }
        }
    }

    fn publish(&mut self, inner: &Inner, body: Event) {
        let envelope = self.envelope(inner, body);
        self.write(inner, &envelope);
        inner.hub.publish(&envelope);
    }

    fn envelope(&mut self, inner: &Inner, body: Event) -> Envelope {
        let index = self.next_index;
        self.next_index += 1;
        Envelope {
            v: SCHEMA_VERSION,
            bake: inner.bake.clone(),
            index,
            at: Timestamp::now(),
            elapsed_ms: millis(inner.before + inner.started.elapsed()),
            body,
        }
    }

    fn write(&mut self, inner: &Inner, envelope: &Envelope) {
        let Some(file) = &mut self.events else { return };
        let written = serde_json::to_vec(envelope)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                file.write_all(&line)
            });
        if let Err(error) = written {
            // Half a line may stand there now: no more after it. The bake goes
            // on; it is the ledger that must be written, not the recording.
            self.events = None;
            let note = self.envelope(
                inner,
                Event::Note {
                    severity: Severity::Warning,
                    message: format!("events are no longer recorded: {error}"),
                    hint: None,
                },
            );
            inner.hub.publish(&note);
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The event with every text in it masked. Names of kinds and ids are our own
/// and EC2's, so a secret cannot make it unreadable except by equalling one;
/// then the event is replaced.
fn masked(event: Event, masker: &Masker) -> Event {
    let Ok(mut value) = serde_json::to_value(&event) else {
        return event;
    };
    if !mask_texts(&mut value, masker) {
        return event;
    }
    serde_json::from_value(value).unwrap_or(Event::Note {
        severity: Severity::Warning,
        message: "an event is not shown: a secret stands in the place of a name".to_owned(),
        hint: None,
    })
}

fn mask_texts(value: &mut Value, masker: &Masker) -> bool {
    match value {
        Value::String(text) => {
            let safe = masker.mask(text);
            let changed = safe != *text;
            *text = safe;
            changed
        }
        Value::Array(items) => {
            let mut changed = false;
            for item in items {
                changed |= mask_texts(item, masker);
            }
            changed
        }
        Value::Object(map) => {
            let mut changed = false;
            for (_, item) in map.iter_mut().filter(|(key, _)| *key != "event") {
                changed |= mask_texts(item, masker);
            }
            changed
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use forno_events::Outcome;
    use proptest::prelude::*;

    use super::*;
    use crate::BakeFolder;

    struct Rig {
        _home: tempfile::TempDir,
        folder: BakeFolder,
        hub: Hub,
        journal: Journal,
    }

    fn rig(secret: &str) -> Rig {
        let home = tempfile::tempdir().unwrap();
        let bake = BakeId::new("base");
        let folder = crate::Bakes::under(home.path()).folder(&bake);
        let hub = Hub::new();
        let masker = Masker::new([("token", secret)]).unwrap();
        let journal = Journal::create(folder.path(), bake, masker, hub.clone()).unwrap();
        Rig {
            _home: home,
            folder,
            hub,
            journal,
        }
    }

    fn output(line: &str) -> Event {
        Event::Output {
            step: StepId::new("step-01"),
            stream: Stream::Stdout,
            line: line.into(),
        }
    }

    fn finished() -> Event {
        Event::StepFinished {
            step: StepId::new("step-01"),
            outcome: Outcome::Failed,
            attempt: 1,
            elapsed_ms: 1,
            message: Some("it said s3cr3t-t0ken".into()),
        }
    }

    #[test]
    fn a_line_held_back_comes_before_the_end_of_its_step() {
        let rig = rig("s3cr3t-t0ken");
        rig.journal.emit(output("hello"));
        rig.journal.emit(output("ends in s3cr3t"));
        rig.journal.emit(finished());
        let events = rig.folder.events().unwrap();
        let told: Vec<String> = events
            .iter()
            .map(|envelope| match &envelope.body {
                Event::Output { line, .. } => line.clone(),
                Event::StepFinished { message, .. } => message.clone().unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, ["hello", "ends in s3cr3t", "it said ***"]);
        let log = fs_err::read_to_string(rig.folder.step_log(&StepId::new("step-01")));
        assert_eq!(log.unwrap(), "hello\nends in s3cr3t\n");
    }

    #[test]
    fn a_listener_that_sleeps_loses_output_and_nothing_else() {
        let rig = rig("s3cr3t-t0ken");
        let mut listener = rig.hub.subscribe();
        for number in 0..10_000 {
            rig.journal.emit(output(&number.to_string()));
        }
        rig.journal.emit(finished());
        drop(rig.journal);
        let mut seen = Vec::new();
        while let Some(envelope) = listener.try_recv() {
            seen.push(envelope);
        }
        assert!(seen.len() < 5000, "{}", seen.len());
        assert!(matches!(
            seen.last().map(|envelope| &envelope.body),
            Some(Event::StepFinished { .. })
        ));
        // What is recorded has no gap.
        let recorded = rig.folder.events().unwrap();
        assert_eq!(recorded.len(), 10_001);
        assert!(
            recorded
                .iter()
                .zip(0..)
                .all(|(event, at)| event.index == at)
        );
    }

    #[test]
    fn another_process_goes_on_where_the_killed_one_was_cut_off() {
        let mut rig = rig("s3cr3t-t0ken");
        rig.journal.emit(Event::StepStarted {
            step: StepId::new("step-01"),
            attempt: 2,
        });
        rig.journal.emit(output("hello"));
        let path = folder::events(rig.folder.path());
        let mut whole = fs_err::read(&path).unwrap();
        whole.extend(b"{\"v\":1,\"ba");
        fs_err::write(&path, whole).unwrap();

        let masker = Masker::new([("token", "s3cr3t-t0ken")]).unwrap();
        let bake = rig.folder.id().clone();
        let (journal, _) = Journal::reopen(rig.folder.path(), bake, masker, Hub::new()).unwrap();
        rig.journal = journal;
        assert_eq!(rig.journal.open_steps()[0].1, 2);
        rig.journal.emit(output("again"));
        rig.journal.close_steps(Outcome::Cancelled);
        let events = rig.folder.events().unwrap();
        let indexes: Vec<u64> = events.iter().map(|event| event.index).collect();
        assert_eq!(indexes, [0, 1, 2, 3]);
        assert!(events.is_sorted_by_key(|event| event.elapsed_ms));
        assert!(matches!(
            events.last().map(|event| &event.body),
            Some(Event::StepFinished { attempt: 2, .. })
        ));
    }

    #[test]
    fn steps_that_have_begun_and_not_ended_are_known() {
        let rig = rig("s3cr3t-t0ken");
        rig.journal.emit(Event::StepStarted {
            step: StepId::new("step-01"),
            attempt: 1,
        });
        rig.journal.emit(Event::StepStarted {
            step: StepId::new("step-01"),
            attempt: 2,
        });
        let open = rig.journal.open_steps();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].1, 2);
        rig.journal.emit(finished());
        assert!(rig.journal.open_steps().is_empty());
    }

    /// Everything that can be said with a text of others, and where it ends up.
    fn say(journal: &Journal, text: &str) {
        let step = || StepId::new("step-01");
        for line in text.split('\n') {
            journal.emit(output(line));
        }
        journal.emit(Event::StepRetry {
            step: step(),
            next_attempt: 2,
            delay_ms: 0,
            error: text.into(),
        });
        journal.emit(Event::Task {
            step: step(),
            name: text.into(),
            outcome: Some(text.into()),
        });
        journal.emit(Event::Waiting {
            step: step(),
            what: text.into(),
            resource: Some(text.into()),
            state: text.into(),
            waited_ms: 0,
            deadline_ms: 0,
        });
        journal.emit(Event::Note {
            severity: Severity::Info,
            message: text.into(),
            hint: Some(text.into()),
        });
        journal.emit(Event::StepFinished {
            step: step(),
            outcome: Outcome::Failed,
            attempt: 1,
            elapsed_ms: 1,
            message: Some(text.into()),
        });
    }

    fn errors(text: &str) -> Vec<crate::Error> {
        use crate::ErrorKind as K;
        let io = || io::Error::other(text.to_owned());
        vec![
            crate::Error::new(K::Recipe(text.into())).with_hint(text),
            crate::Error::new(K::Step {
                step: text.into(),
                error: text.into(),
            }),
            crate::Error::new(K::Check {
                what: "check",
                name: text.into(),
                error: text.into(),
            }),
            crate::Error::io("write")(io()),
            crate::Error::new(K::Ledger(forno_saga::Error::Alive(text.into()))),
            crate::Error::new(K::BaseFailed(text.into())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the secret, however it is written and broken into lines.
        #[test]
        fn no_sink_holds_a_secret(
            secret in "[!-)+-~]{8,40}",
            how in 0..4_usize,
            breaks in prop::collection::vec(0..80_usize, 0..3),
        ) {
            let encode: fn(&str) -> String = [
                |text: &str| text.to_owned(),
                |text: &str| base64::engine::general_purpose::STANDARD.encode(text),
                |text: &str| {
                    let quoted = serde_json::to_string(text).unwrap();
                    quoted[1..quoted.len() - 1].to_owned()
                },
                |text: &str| text.replace('\'', r"'\''"),
            ][how];
            let hidden = encode(&secret);
            let mut text = format!("x {hidden} y");
            for at in breaks {
                text.insert(at.min(text.len()), '\n');
            }
            let rig = rig(&secret);
            let mut listener = rig.hub.subscribe();
            say(&rig.journal, &text);

            let mut sinks: Vec<String> = errors(&text)
                .into_iter()
                .map(|error| error.masked(&rig.journal))
                .map(|error| format!("{}{:?}", error.full(), error.hint()))
                .collect();
            while let Some(envelope) = listener.try_recv() {
                sinks.push(format!("{envelope:?}"));
            }
            let log = rig.folder.step_log(&StepId::new("step-01"));
            sinks.push(fs_err::read_to_string(log).unwrap());
            let events = folder::events(rig.folder.path());
            sinks.push(fs_err::read_to_string(events).unwrap());
            prop_assert_eq!(sinks.len(), 6 + 5 + text.split('\n').count() + 2);
            for sink in sinks {
                // As it stands in a string of JSON or of Rust, and across lines.
                let joined = sink.replace("\\n", "").replace('\n', "");
                let quoted = encode(&secret).escape_debug().to_string();
                prop_assert!(!joined.contains(&hidden) && !joined.contains(&quoted), "{}", sink);
            }
        }
    }
}
