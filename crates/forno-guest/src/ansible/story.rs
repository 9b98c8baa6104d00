//! What our callback plugin tells, turned into events, lines and the reasons of
//! a failure.

use std::collections::BTreeMap;

use forno_events::{Event, Stream};
use serde::Deserialize;

use crate::StepContext;
use crate::output::Tap;

/// What the plugin puts before each of its lines (RFC 7464's record separator).
const MARK: char = '\u{1e}';

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Told {
    Play {
        name: String,
    },
    Task {
        task: String,
        #[serde(default)]
        handler: bool,
    },
    Result {
        task: String,
        host: String,
        status: String,
        #[serde(flatten)]
        said: Said,
        #[serde(default)]
        detail: Option<String>,
    },
    Item {
        item: Option<String>,
        #[serde(flatten)]
        said: Said,
    },
    Retry {
        task: String,
        left: i64,
    },
    Warning {
        message: Option<String>,
    },
    Stats {
        hosts: BTreeMap<String, BTreeMap<String, u64>>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    message: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
}

impl Said {
    fn lines(&self) -> Vec<String> {
        let texts = [&self.message, &self.stderr, &self.stdout];
        let mut lines: Vec<String> = Vec::new();
        for text in texts.into_iter().flatten() {
            lines.extend(text.trim_end().lines().map(str::to_owned));
        }
        lines.dedup();
        lines
    }
}

/// Follows one run of ansible-playbook.
#[derive(Debug)]
pub(super) struct Story {
    ctx: StepContext,
    tap: Tap,
    /// The machine's name in the inventory.
    host: String,
    /// Loop items that failed in the current task.
    items: Vec<String>,
    failures: Vec<String>,
    pub(super) unreachable: bool,
    /// Some task was done, or tried, on some host.
    pub(super) acted: bool,
}

impl Story {
    pub(super) fn new(ctx: &StepContext, tap: Tap, host: &str) -> Self {
        Self {
            ctx: ctx.clone(),
            tap,
            host: host.to_owned(),
            items: Vec::new(),
            failures: Vec::new(),
            unreachable: false,
            acted: false,
        }
    }

    /// Why it failed, task by task.
    pub(super) fn failures(self) -> Vec<String> {
        self.failures
    }

    /// A line of standard output.
    pub(super) fn line(&mut self, line: &str) {
        let told = line
            .strip_prefix(MARK)
            .and_then(|json| serde_json::from_str(json).ok());
        match told {
            Some(told) => self.told(told),
            None if line.trim().is_empty() => {}
            None => self
                .tap
                .push(Stream::Stdout, format!("{line}\n").as_bytes()),
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Play { name } => self.tap.say(&format!("play: {name}")),
            Told::Task { task, handler } => {
                self.items.clear();
                let kind = if handler { "handler" } else { "task" };
                self.tap.say(&format!("{kind}: {task}"));
                self.task(task, None);
            }
            Told::Retry { task, left } => {
                self.tap
                    .say(&format!("  not yet, {left} more tries: {task}"));
            }
            Told::Warning { message } => {
                if let Some(message) = message {
                    self.tap.say(&format!("  warning: {message}"));
                }
            }
            Told::Item { item, said } => {
                let item = item.unwrap_or_default();
                let text = format!("item {item}: {}", said.lines().join("\n"));
                self.tap.say(&indented(&text));
                self.items.push(text);
            }
            Told::Result {
                task,
                host,
                status,
                said,
                detail,
            } => {
                let lines = said.lines();
                self.acted |= status != "skipped";
                self.tap.say(&format!("  {status}"));
                for line in &lines {
                    self.tap.say(&indented(line));
                }
                if let Some(detail) = detail {
                    self.tap.say(&indented(&detail));
                }
                if status == "failed" || status == "unreachable" {
                    self.unreachable |= status == "unreachable";
                    let host = if host == self.host {
                        String::new()
                    } else {
                        format!(" on {host}")
                    };
                    let mut reason = format!("task `{task}`{host} {status}");
                    for line in lines.iter().chain(&self.items).take(20) {
                        reason.push_str(&format!("\n{}", indented(line)));
                    }
                    self.failures.push(reason);
                }
                self.task(task, Some(status));
            }
            Told::Stats { hosts } => {
                for (host, counts) in hosts {
                    let counts: Vec<String> = counts
                        .iter()
                        .filter(|(_, count)| **count > 0)
                        .map(|(name, count)| format!("{count} {name}"))
                        .collect();
                    self.tap.say(&format!("{host}: {}", counts.join(", ")));
                }
            }
        }
    }

    fn task(&self, name: String, outcome: Option<String>) {
        self.ctx.emitter.emit(Event::Task {
            step: self.ctx.step.clone(),
            name,
            outcome,
        });
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use forno_events::{Emitter, StepId};
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn told(lines: &[&str]) -> Story {
        let ctx = StepContext::new(StepId::new("s"), Emitter::none(), CancellationToken::new());
        let mut story = Story::new(&ctx, Tap::new(&ctx), "builder");
        for line in lines {
            story.line(line);
        }
        story
    }

    #[test]
    fn a_failure_names_task_message_and_what_the_module_said() {
        let story = told(&[
            "\u{1e}{\"event\":\"task\",\"task\":\"install\"}",
            "\u{1e}{\"event\":\"result\",\"task\":\"install\",\"host\":\"builder\",\"status\":\"failed\",\
             \"message\":\"no package x\",\"stdout\":null,\"stderr\":\"E: gone\"}",
        ]);
        assert!(story.acted);
        assert_eq!(
            story.failures(),
            ["task `install` failed\n    no package x\n    E: gone"]
        );
    }

    #[test]
    fn what_it_does_not_know_is_output() {
        let story = told(&[
            "\u{1e}{\"event\":\"moon\"}",
            "\u{1e}not json",
            "[WARNING]: x",
        ]);
        assert_eq!(story.tap.finish().len(), 3);
        assert!(!story.acted);
        assert!(story.failures().is_empty());
    }
}
