//! A guest that is this computer, reached over a real sshd, and the events of
//! what is done to it. Only scratch folders are touched.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_events::{Emitter, Event, StepId, Stream};
use forno_guest::{
    Action, Guest, OnFailure, Script, Shell, Step, StepContext, StepError, StepReport,
};
use forno_link::AgentSocket;
use forno_link::testing::{self, Sshd};
use tokio_util::sync::CancellationToken;

pub(crate) struct Bench {
    pub(crate) guest: Guest,
    pub(crate) ctx: StepContext,
    pub(crate) server: Sshd,
    pub(crate) agent: AgentSocket,
    events: Arc<Mutex<Vec<Event>>>,
}

/// `None` where there is no sshd.
pub(crate) async fn bench() -> Option<Bench> {
    bench_with("").await
}

/// With more lines for the configuration of sshd.
pub(crate) async fn bench_with(extra: &str) -> Option<Bench> {
    let server = match testing::sshd_with(extra).await {
        Ok(server) => server,
        Err(reason) => {
            forno_testing::skip(reason);
            return None;
        }
    };
    let agent = AgentSocket::new(server.identity.clone()).unwrap();
    let mut target = server.target();
    target.agent_socket = Some(agent.path().to_owned());
    let link = server.link_to(target).await;
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let emitter = Emitter::new(move |event| seen.lock().unwrap().push(event));
    let ctx = StepContext::new(StepId::new("step-01"), emitter, CancellationToken::new());
    Some(Bench {
        guest: Guest::new(link),
        ctx,
        server,
        agent,
        events,
    })
}

impl Bench {
    pub(crate) async fn run(&self, action: Action) -> Result<StepReport, StepError> {
        self.guest.run(&step(action), &self.ctx).await
    }

    pub(crate) fn dir(&self) -> &Path {
        self.server.dir()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self, wanted: Stream) -> Vec<String> {
        let lines = self.events().into_iter().filter_map(|event| match event {
            Event::Output { stream, line, .. } if stream == wanted => Some(line),
            _ => None,
        });
        lines.collect()
    }

    /// The events of a step's life, in words.
    pub(crate) fn life(&self) -> Vec<String> {
        let words = self.events().into_iter().filter_map(|event| match event {
            Event::StepStarted { attempt, .. } => Some(format!("started {attempt}")),
            Event::StepRetry {
                next_attempt,
                error,
                ..
            } => Some(format!("retry {next_attempt}: {error}")),
            Event::StepFinished {
                outcome, attempt, ..
            } => Some(format!("finished {attempt}: {outcome:?}")),
            _ => None,
        });
        words.collect()
    }
}

pub(crate) fn step(action: Action) -> Step {
    Step {
        name: "a step".into(),
        timeout: Duration::from_mins(5),
        attempts: 1,
        pause: Duration::from_millis(10),
        on_failure: OnFailure::Fail,
        action,
    }
}

pub(crate) fn shell(text: &str) -> Shell {
    Shell {
        script: Script::Inline(text.into()),
        args: Vec::new(),
        sudo: false,
        interpreter: None,
        valid_exit_codes: vec![0],
        env: BTreeMap::new(),
    }
}

/// What a person sees of a failure.
pub(crate) fn told(error: &StepError) -> String {
    let mut text = error.to_string();
    for line in &error.tail {
        text.push_str(&format!("\n  | {line}"));
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}
