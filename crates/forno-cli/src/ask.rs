//! Asks a person what to do about a failed step.

use std::io::{BufRead, stdin};

use async_trait::async_trait;
use forno_bake::{Answer, Ask, Question};
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
    printer.say(&format!(
        "{} {}: {} failed",
        theme.failed(),
        theme.strong(question.bake.image()),
        question.step
    ));
    printer.labelled(&theme.bad("error:"), &question.error);
    loop {
        for answer in &question.answers {
            let (key, what) = words(*answer);
            printer.say(&format!("  {} {what}", theme.strong(key)));
        }
        let mut line = String::new();
        match stdin().lock().read_line(&mut line) {
            // Nobody is there any more.
            Ok(0) | Err(_) => return Answer::TearDown,
            Ok(_) => {}
        }
        if let Some(answer) = understood(&line, &question.answers) {
            return answer;
        }
    }
}

fn words(answer: Answer) -> (&'static str, &'static str) {
    match answer {
        Answer::Retry => ("r", "try the step once more"),
        Answer::Continue => ("c", "go on as if it had worked"),
        Answer::Keep => ("k", "fail, and leave the builder for a look at it"),
        Answer::TearDown => ("t", "fail, and take everything down"),
    }
}

fn understood(line: &str, answers: &[Answer]) -> Option<Answer> {
    let line = line.trim().to_ascii_lowercase();
    answers
        .iter()
        .copied()
        .find(|answer| words(*answer).0 == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_offered_is_understood() {
        let answers = [Answer::Retry, Answer::TearDown];
        assert_eq!(understood(" R\n", &answers), Some(Answer::Retry));
        assert_eq!(understood("t", &answers), Some(Answer::TearDown));
        assert_eq!(understood("k", &answers), None);
        assert_eq!(understood("", &answers), None);
    }
}
