//! Why a step failed, with what the machine said last.

use std::fmt::{self, Write as _};
use std::time::Duration;

use forno_link::Exit;

use crate::seal::Finding;
use crate::step::Mismatch;

/// A step's failure.
#[derive(Debug)]
pub struct StepError {
    pub kind: StepErrorKind,
    /// The last lines of output, unmasked.
    pub tail: Vec<String>,
    pub hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepErrorKind {
    #[error("{what}: {exit}")]
    Exit { what: String, exit: Exit },
    #[error("{what}: not done within {}", words(*.after))]
    TimedOut { what: String, after: Duration },
    #[error("cancelled")]
    Cancelled,
    /// It began, and how it would have ended cannot be known any more.
    #[error("{what} was cut off half way: {why}")]
    CutOff { what: String, why: String },
    #[error(transparent)]
    Link(Box<forno_link::Error>),
    #[error("{what}: {error}")]
    Local { what: String, error: std::io::Error },
    #[error("`{program}` is not installed on this machine")]
    MissingProgram { program: String, package: String },
    /// Tasks that failed, each with its module's message.
    #[error("{}", ansible(.0))]
    Ansible(Vec<String>),
    #[error("{}", mismatches(.0))]
    Assertion(Vec<Mismatch>),
    #[error("{}", findings(.0))]
    Secrets(Vec<Finding>),
    /// Something on the machine is not as it must be.
    #[error("{0}")]
    Guest(String),
    /// Something about the step itself.
    #[error("{0}")]
    Invalid(String),
}

impl StepError {
    pub(crate) fn new(kind: StepErrorKind) -> Self {
        Self {
            kind,
            tail: Vec::new(),
            hint: None,
        }
    }

    pub(crate) fn guest(message: impl Into<String>) -> Self {
        Self::new(StepErrorKind::Guest(message.into()))
    }

    pub(crate) fn local(what: impl Into<String>, error: std::io::Error) -> Self {
        Self::new(StepErrorKind::Local {
            what: what.into(),
            error,
        })
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn tail(mut self, tail: Vec<String>) -> Self {
        self.tail = tail;
        self
    }

    pub fn is_cancelled(&self) -> bool {
        match &self.kind {
            StepErrorKind::Cancelled => true,
            StepErrorKind::Link(error) => error.is_cancelled(),
            _ => false,
        }
    }

    /// The connection to the machine is gone.
    pub fn is_lost(&self) -> bool {
        matches!(&self.kind, StepErrorKind::Link(error) if error.is_lost())
    }
}

impl From<forno_link::Error> for StepError {
    fn from(error: forno_link::Error) -> Self {
        let hint = error.hint();
        Self {
            kind: StepErrorKind::Link(Box::new(error)),
            tail: Vec::new(),
            hint,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for StepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

pub(crate) fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0) => format!("{} ms", duration.as_millis()),
        (0, s) => format!("{s} s"),
        (m, 0) => format!("{m} min"),
        (m, s) => format!("{m} min {s} s"),
    }
}

fn ansible(failures: &[String]) -> String {
    match failures {
        [] => "ansible-playbook failed".into(),
        [one] => one.clone(),
        many => format!("{} tasks failed:\n{}", many.len(), many.join("\n")),
    }
}

fn mismatches(all: &[Mismatch]) -> String {
    let mut text = String::new();
    for (
        i,
        Mismatch {
            what,
            expected,
            found,
        },
    ) in all.iter().enumerate()
    {
        let separator = if i == 0 { "" } else { "\n" };
        let _ = write!(
            text,
            "{separator}{what}: expected {expected}, found {found}"
        );
    }
    text
}

fn findings(all: &[Finding]) -> String {
    let mut text = String::from("secrets would be baked in:");
    for Finding { path, kind } in all {
        let _ = write!(text, "\n{path}: {kind}");
    }
    text
}
