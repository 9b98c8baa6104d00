//! Asks a person: what to do about a failed step, whether something may go.

use std::io::{BufRead, stdin};
use std::sync::Arc;

use async_trait::async_trait;
use forno_aws::AskCode;
use forno_bake::{About, Answer, Ask, Consent, Found, Question};
use tokio::sync::Mutex;

use crate::printer::Printer;
use crate::stage::Curtain;

/// The terminal: one question at a time, with nothing drawn meanwhile.
pub(crate) struct Terminal {
    printer: Printer,
    curtain: Mutex<Curtain>,
}

impl Terminal {
    pub(crate) fn new(printer: Printer, curtain: Curtain) -> Self {
        Self {
            printer,
            curtain: Mutex::new(curtain),
        }
    }
}

#[async_trait]
impl Ask for Terminal {
    async fn ask(&self, question: Question) -> Answer {
        let curtain = self.curtain.lock().await;
        let _closed = curtain.pause().await;
        let printer = self.printer;
        // A thread of its own: nothing can call a reader of a terminal back.
        tokio::task::spawn_blocking(move || converse(&question, printer))
            .await
            .unwrap_or(Answer::TearDown)
    }
}

fn converse(question: &Question, printer: Printer) -> Answer {
    let theme = printer.prose;
    let image = theme.strong(question.bake.image());
    match &question.about {
        About::Failure(error) => {
            let failed = theme.failed();
            printer.say(&format!("{failed} {image}: {} failed", question.step));
            printer.labelled(&theme.bad("error:"), error);
        }
        About::Breakpoint(note) => {
            printer.say(&format!("{image}: waits at {}", question.step));
            if let Some(note) = note {
                printer.labelled(&theme.warn("note:"), note);
            }
            let shell = format!("`forno shell {}` looks into it", question.bake);
            printer.labelled(&theme.warn("hint:"), &shell);
        }
    }
    loop {
        for answer in &question.answers {
            let (key, what) = words(*answer, &question.about);
            printer.say(&format!("  {} {what}", theme.strong(key)));
        }
        let mut line = String::new();
        match stdin().lock().read_line(&mut line) {
            // Nobody is there any more.
            Ok(0) | Err(_) => return Answer::TearDown,
            Ok(_) => {}
        }
        if let Some(answer) = understood(&line, question) {
            return answer;
        }
    }
}

fn words(answer: Answer, about: &About) -> (&'static str, &'static str) {
    match answer {
        Answer::Retry => ("r", "try the step once more"),
        Answer::Continue => match about {
            About::Failure(_) => ("c", "go on as if it had worked"),
            About::Breakpoint(_) => ("c", "go on"),
        },
        Answer::Keep => ("k", "fail, and leave the builder for a look at it"),
        Answer::TearDown => ("t", "fail, and take everything down"),
    }
}

fn understood(line: &str, question: &Question) -> Option<Answer> {
    let line = line.trim().to_ascii_lowercase();
    let mut answers = question.answers.iter().copied();
    answers.find(|answer| words(*answer, &question.about).0 == line)
}

/// Asks for the code of an MFA device, before anything is drawn.
pub(crate) struct CodeAtTerminal(pub(crate) Printer);

#[async_trait]
impl AskCode for CodeAtTerminal {
    async fn code(&self, serial: &str) -> Option<String> {
        let (printer, question) = (self.0, format!("code of {serial}: "));
        tokio::task::spawn_blocking(move || {
            printer.ask(&question);
            let mut line = String::new();
            let read = stdin().lock().read_line(&mut line).ok()?;
            let code = line.trim();
            (read > 0 && !code.is_empty()).then(|| code.to_owned())
        })
        .await
        .ok()?
    }
}

/// Somebody has said yes to everything beforehand.
pub(crate) struct Agreed;

#[async_trait]
impl Consent for Agreed {
    async fn agrees(&self, _: &Found) -> bool {
        true
    }
}

/// Asks about each thing that is to go; several sweeps at once ask one after another.
pub(crate) struct Asking {
    printer: Printer,
    /// What was answered for all that is still to come.
    settled: Arc<Mutex<Option<bool>>>,
}

impl Asking {
    pub(crate) fn new(printer: Printer) -> Self {
        Self {
            printer,
            settled: Arc::default(),
        }
    }
}

#[async_trait]
impl Consent for Asking {
    async fn agrees(&self, found: &Found) -> bool {
        let mut settled = Arc::clone(&self.settled).lock_owned().await;
        if let Some(settled) = *settled {
            return settled;
        }
        let (printer, found) = (self.printer, found.clone());
        tokio::task::spawn_blocking(move || {
            let question = format!(
                "remove {} {} in {}? {} [y/N/a/q] ",
                found.kind, found.id, found.region, found.reason
            );
            let answer = loop {
                printer.ask(&question);
                let mut line = String::new();
                match stdin().lock().read_line(&mut line) {
                    // Nobody is there any more.
                    Ok(0) | Err(_) => break Say::NoMore,
                    Ok(_) => {}
                }
                if let Some(answer) = said(&line) {
                    break answer;
                }
                printer.say("y: yes, n: no, a: this and all the rest, q: no more");
            };
            let (agrees, rest) = match answer {
                Say::Yes => (true, None),
                Say::No => (false, None),
                Say::All => (true, Some(true)),
                Say::NoMore => (false, Some(false)),
            };
            *settled = rest;
            agrees
        })
        .await
        .unwrap_or(false)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Say {
    Yes,
    No,
    All,
    NoMore,
}

fn said(line: &str) -> Option<Say> {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(Say::Yes),
        "" | "n" | "no" => Some(Say::No),
        "a" | "all" => Some(Say::All),
        "q" | "quit" => Some(Say::NoMore),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_yes_is_one() {
        for (line, answer) in [
            ("y\n", Some(Say::Yes)),
            (" YES ", Some(Say::Yes)),
            ("\n", Some(Say::No)),
            ("n", Some(Say::No)),
            ("a", Some(Say::All)),
            ("q", Some(Say::NoMore)),
            ("yo", None),
            ("ja", None),
        ] {
            assert_eq!(said(line), answer, "{line:?}");
        }
    }

    #[test]
    fn only_what_was_offered_is_understood() {
        let question = Question {
            bake: forno_events::BakeId::new("one"),
            step: "build".to_owned(),
            about: About::Failure(String::new()),
            answers: vec![Answer::Retry, Answer::TearDown],
        };
        let understood = |line| understood(line, &question);
        assert_eq!(understood(" R\n"), Some(Answer::Retry));
        assert_eq!(understood("t"), Some(Answer::TearDown));
        assert_eq!(understood("k"), None);
        assert_eq!(understood(""), None);
    }
}
