//! What an earlier process has recorded of a bake, as far as the next one needs it.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use forno_events::{Envelope, Event, Outcome, StepId, Stream};

use crate::folder;
use crate::manifest::PhaseTime;
use crate::plan::ids;

#[derive(Debug, Default)]
pub(crate) struct Past {
    /// How many bytes of the file are whole lines.
    pub(super) length: u64,
    pub(super) next_index: u64,
    pub(super) elapsed: Duration,
    /// Begun and not finished, with the attempt.
    pub(super) open: Vec<(StepId, u32)>,
    /// Ended well, since the last builder was asked for.
    pub(crate) done: Vec<StepId>,
    pub(crate) phases: Vec<PhaseTime>,
}

impl Past {
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let file = match fs_err::File::open(folder::events(dir)) {
            Ok(file) => file,
            // Killed before its first event.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut past = Self::default();
        let mut story = Story::default();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let Ok(event) = serde_json::from_slice::<Envelope>(&line) else {
                break;
            };
            if !line.ends_with(b"\n") {
                break;
            }
            past.length += line.len() as u64;
            past.next_index = event.index + 1;
            past.elapsed = Duration::from_millis(event.elapsed_ms);
            story.take(&event);
            line.clear();
        }
        past.done = std::mem::take(&mut story.done);
        (past.open, past.phases) = story.end();
        Ok(past)
    }
}

/// How many lines of each output were told of a step from an event on.
pub(super) fn output(dir: &Path, step: &StepId, from: u64) -> Vec<(Stream, usize)> {
    let mut told = vec![(Stream::Stdout, 0), (Stream::Stderr, 0)];
    let Ok(file) = fs_err::File::open(folder::events(dir)) else {
        return told;
    };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<Envelope>(&line) else {
            break;
        };
        if let Event::Output {
            step: of, stream, ..
        } = &event.body
            && event.index >= from
            && of == step
            && let Some((_, lines)) = told.iter_mut().find(|(kind, _)| kind == stream)
        {
            *lines += 1;
        }
    }
    told
}

/// How long each step took, and so its phase.
#[derive(Default)]
struct Story {
    phases: HashMap<StepId, String>,
    /// Step, attempt, when it began and when it was last heard of.
    open: Vec<(StepId, u32, u64, u64)>,
    done: Vec<StepId>,
    times: Vec<PhaseTime>,
}

impl Story {
    fn take(&mut self, event: &Envelope) {
        let now = event.elapsed_ms;
        if let Some(step) = event.body.step()
            && let Some(open) = self.open.iter_mut().find(|(open, ..)| open == step)
        {
            open.3 = now;
        }
        match &event.body {
            Event::BakeStarted { steps, .. } => {
                for info in steps {
                    self.phases.insert(info.id.clone(), info.phase.clone());
                }
                // Announced with the proof, and timed as a phase of its own.
                self.phases.insert(ids::finish(), "finish".to_owned());
                // Another process has begun: the old one's steps were cut off.
                let mut open = std::mem::take(&mut self.open);
                for (step, _, began, last) in &mut open {
                    self.add(step, *last - *began);
                    (*began, *last) = (now, now);
                }
                self.open = open;
            }
            Event::StepStarted { step, attempt } => {
                if *step == ids::builder() {
                    self.done.clear();
                }
                match self.open.iter_mut().find(|(open, ..)| open == step) {
                    Some(open) => open.1 = *attempt,
                    None => self.open.push((step.clone(), *attempt, now, now)),
                }
            }
            Event::StepFinished { step, outcome, .. } => {
                if matches!(outcome, Outcome::Ok | Outcome::Tolerated) {
                    self.done.push(step.clone());
                }
                if let Some(at) = self.open.iter().position(|(open, ..)| open == step) {
                    let (step, _, began, last) = self.open.remove(at);
                    self.add(&step, last - began);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, step: &StepId, elapsed_ms: u64) {
        let Some(phase) = self.phases.get(step) else {
            return;
        };
        PhaseTime::add(&mut self.times, phase, elapsed_ms);
    }

    fn end(mut self) -> (Vec<(StepId, u32)>, Vec<PhaseTime>) {
        let open = std::mem::take(&mut self.open);
        for (step, _, began, last) in &open {
            self.add(step, last - began);
        }
        let open = open
            .into_iter()
            .map(|(step, attempt, ..)| (step, attempt))
            .collect();
        (open, self.times)
    }
}
