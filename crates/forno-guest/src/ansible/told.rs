//! What the callback plugin tells, and what becomes of it: tasks as events,
//! results as lines of output, failures as the step's error.

use std::collections::BTreeMap;

use forno_events::{Event, Stream};
use serde::Deserialize;

use crate::StepContext;

/// Begins every line of the plugin, so that output of others is told apart.
pub(super) const MARK: u8 = 0x1e;

/// One line of the plugin.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Told {
    Play {
        name: String,
    },
    Task {
        name: String,
    },
    Result(Box<TaskResult>),
    Nothing {
        reason: String,
    },
    Stats {
        hosts: BTreeMap<String, BTreeMap<String, u64>>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct TaskResult {
    task: String,
    outcome: String,
    #[serde(default)]
    msg: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    stdout: Option<String>,
    #[serde(default)]
    stderr: Option<String>,
    #[serde(default)]
    module_stdout: Option<String>,
    #[serde(default)]
    module_stderr: Option<String>,
    #[serde(default)]
    item: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    attempt: Option<u64>,
}

/// What a run has told so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) failures: Vec<String>,
    items: Vec<String>,
    /// A play found no machine to act on.
    pub(super) nothing: Option<String>,
    /// Tasks that ran on some host.
    pub(super) ran: u64,
}

impl Story {
    /// A line of standard output, without its end. `false`: not the plugin's.
    pub(super) fn line(&mut self, line: &[u8], ctx: &StepContext) -> bool {
        let Some(json) = line.strip_prefix(&[MARK]) else {
            return false;
        };
        match serde_json::from_slice(json) {
            Ok(told) => self.told(told, ctx),
            Err(error) => tracing::debug!(%error, "a line of the callback plugin cannot be read"),
        }
        true
    }

    fn told(&mut self, told: Told, ctx: &StepContext) {
        match told {
            Told::Play { name } => ctx.line(Stream::Stdout, format!("PLAY [{name}]")),
            Told::Task { name } => {
                ctx.line(Stream::Stdout, format!("TASK [{name}]"));
                task(ctx, name, None);
            }
            Told::Result(result) => self.result(*result, ctx),
            Told::Nothing { reason } => {
                ctx.line(Stream::Stderr, reason.clone());
                self.nothing = Some(reason);
            }
            Told::Stats { hosts } => {
                for (host, counts) in hosts {
                    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
                    self.ran += of("ok") + of("failures") + of("unreachable");
                    let words: Vec<String> =
                        counts.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    ctx.line(Stream::Stdout, format!("RECAP {host}: {}", words.join(" ")));
                }
            }
            Told::Unknown => {}
        }
    }

    fn result(&mut self, result: TaskResult, ctx: &StepContext) {
        let stream = match result.outcome.as_str() {
            "failed" | "unreachable" | "item-failed" => Stream::Stderr,
            _ => Stream::Stdout,
        };
        let mut head = result.outcome.clone();
        for (label, value) in [
            ("item", result.item.clone()),
            ("attempt", result.attempt.map(|number| number.to_string())),
        ] {
            if let Some(value) = value {
                head = format!("{head} ({label} {value})");
            }
        }
        ctx.line(stream, head);
        for text in result.texts() {
            for line in text.lines() {
                ctx.line(stream, format!("    {line}"));
            }
        }
        match result.outcome.as_str() {
            "failed" | "unreachable" => {
                self.failures
                    .push(result.failure(&std::mem::take(&mut self.items)));
                task(ctx, result.task, Some(result.outcome));
            }
            "item-failed" => {
                let message = result.message.unwrap_or_default();
                self.items
                    .push(format!("{}: {message}", result.item.unwrap_or_default()));
            }
            "retry" => {}
            _ => {
                self.items.clear();
                task(ctx, result.task, Some(result.outcome));
            }
        }
    }
}

impl TaskResult {
    fn texts(&self) -> impl Iterator<Item = &str> {
        [
            &self.msg,
            &self.reason,
            &self.message,
            &self.stdout,
            &self.stderr,
            &self.module_stdout,
            &self.module_stderr,
        ]
        .into_iter()
        .filter_map(Option::as_deref)
    }

    /// The task, what its module said, and the end of its error output.
    fn failure(&self, items: &[String]) -> String {
        let message = self
            .msg
            .as_deref()
            .or(self.reason.as_deref())
            .unwrap_or("failed");
        let mut text = format!("task `{}` {}: {message}", self.task, self.outcome);
        for more in items {
            text = format!("{text}\n{more}");
        }
        let said = [&self.stderr, &self.module_stderr, &self.stdout];
        if let Some(said) = said
            .into_iter()
            .flatten()
            .find(|said| !said.trim().is_empty())
        {
            let lines: Vec<&str> = said.trim().lines().collect();
            let last = lines.len().saturating_sub(5);
            for line in lines.iter().skip(last) {
                text = format!("{text}\n{line}");
            }
        }
        text
    }
}

fn task(ctx: &StepContext, name: String, outcome: Option<String>) {
    ctx.emitter.emit(Event::Task {
        step: ctx.step.clone(),
        name,
        outcome,
    });
}

#[cfg(test)]
mod tests {
    use forno_events::{Emitter, StepId};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn a_failure_names_task_and_message() {
        let ctx = StepContext::new(StepId::new("s"), Emitter::none(), CancellationToken::new());
        let mut story = Story::default();
        let line = "\u{1e}{\"kind\":\"result\",\"task\":\"install\",\"outcome\":\"failed\",\
            \"msg\":\"no package x\",\"stderr\":\"E: gone\"}";
        assert!(story.line(line.as_bytes(), &ctx));
        assert_eq!(
            story.failures,
            ["task `install` failed: no package x\nE: gone"]
        );
        assert!(!story.line(b"[WARNING]: something", &ctx));
    }

    #[test]
    fn a_newer_plugin_is_survived() {
        let ctx = StepContext::new(StepId::new("s"), Emitter::none(), CancellationToken::new());
        let mut story = Story::default();
        assert!(story.line(b"\x1e{\"kind\":\"moon\"}", &ctx));
        assert!(story.line(b"\x1enot json", &ctx));
        assert!(story.failures.is_empty());
    }
}
