//! Why a bake, or the planning of one, came to nothing; and the exit code that
//! each of it means.

use std::io;

use forno_aws::Gateway;
use forno_events::BakeId;
use forno_saga::{EffectError, Failure, Happened, RunError};

use crate::ExitCode;
use crate::journal::{Journal, TooShort};

/// What went wrong, in which part of the bake.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    pub kind: ErrorKind,
    /// What to do about it, where that is known better than from the kind.
    hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The recipe is sound in itself, but cannot be baked as it is.
    #[error("{0}")]
    Recipe(String),
    #[error("recipes start from one another in a circle: {}", .0.join(" -> "))]
    Circular(Vec<String>),
    /// Found before anything was made.
    #[error("{0}")]
    Preflight(String),
    /// EC2 refused or did not answer while planning.
    #[error("{0}")]
    Planning(forno_aws::Error),
    #[error("{what}: {error}")]
    Network {
        what: &'static str,
        error: forno_aws::Error,
    },
    /// No machine: every type and subnet was refused, or what was launched died.
    #[error("no builder: {0}")]
    NoBuilder(String),
    /// The machine went away beside what was being done on it.
    #[error("the machine {instance} is gone: {reason}")]
    MachineGone {
        instance: String,
        reason: String,
        /// By EC2's own doing: worth another machine.
        theirs: bool,
    },
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("step `{step}` failed: {error}")]
    Step { step: String, error: String },
    #[error("{what} `{name}` failed: {error}")]
    Check {
        what: &'static str,
        name: String,
        error: String,
    },
    #[error("cannot seal the machine: {0}")]
    Seal(String),
    #[error("cannot capture the image: {0}")]
    Capture(String),
    #[error("{0}")]
    Publish(String),
    #[error("{what} took longer than {limit:?}")]
    OutOfTime {
        what: String,
        limit: std::time::Duration,
        exit: ExitCode,
    },
    #[error("interrupted: {0}")]
    Cancelled(String),
    #[error(transparent)]
    Ledger(#[from] forno_saga::Error),
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Secret(#[from] TooShort),
    /// One of the others, whose own words are not to be shown.
    #[error("{message}")]
    Reworded { message: String, exit: ExitCode },
    /// Another process works on the bake.
    #[error("{0} is alive: another forno works on it")]
    Alive(BakeId),
    /// There is nothing to take up.
    #[error("{bake} is over: {became}")]
    Over { bake: BakeId, became: String },
    /// An image that this one starts from was not made.
    #[error("not tried: `{0}`, which it starts from, was not made")]
    BaseFailed(String),
}

impl Error {
    pub fn new(kind: impl Into<ErrorKind>) -> Self {
        Self {
            kind: kind.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(ErrorKind::Io { action, source })
    }

    pub(crate) fn cancelled(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled(reason.into()))
    }

    pub fn exit_code(&self) -> ExitCode {
        use ErrorKind as K;
        match &self.kind {
            K::Recipe(_) | K::Circular(_) | K::Secret(_) => ExitCode::RecipeInvalid,
            K::Preflight(_) | K::Planning(_) => ExitCode::Preflight,
            K::Network { .. } | K::NoBuilder(_) => ExitCode::NoBuilder,
            K::MachineGone { .. } | K::Step { .. } | K::Seal(_) => ExitCode::StepFailed,
            K::Connect(_) => ExitCode::CannotConnect,
            K::Check { .. } => ExitCode::CheckFailed,
            K::Capture(_) => ExitCode::Capture,
            K::Publish(_) => ExitCode::Publish,
            K::OutOfTime { exit, .. } | K::Reworded { exit, .. } => *exit,
            K::Cancelled(_) => ExitCode::Interrupted,
            K::Over { .. } => ExitCode::NothingToDo,
            K::Ledger(_) | K::Io { .. } | K::BaseFailed(_) | K::Alive(_) => ExitCode::Unexpected,
        }
    }

    /// Whether the same thing may go well on another machine.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.kind, ErrorKind::MachineGone { theirs: true, .. })
    }

    /// For the line `hint: …`.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone().or_else(|| match &self.kind {
            ErrorKind::Planning(error) | ErrorKind::Network { error, .. } => error.hint(),
            ErrorKind::Secret(_) => {
                Some("use a longer one; so short a text stands in innocent output, too".to_owned())
            }
            _ => None,
        })
    }

    /// The same without secrets, for whoever shows it past the journal.
    pub(crate) fn masked(self, journal: &Journal) -> Self {
        self.reworded(|text| journal.mask(text))
    }

    /// With what EC2 says only in code read out, as far as that is allowed.
    pub(crate) async fn decoded(self, gateway: &Gateway) -> Self {
        let full = self.full();
        let Some(code) = forno_aws::denial_code(&full) else {
            return self;
        };
        let said = match gateway.decode_denial(code).await {
            Ok(denial) => denial.to_string(),
            Err(error) => format!(
                "why is told in code, and it could not be read out: {error}; whoever may does so by `aws sts \
                 decode-authorization-message --query DecodedMessage --output text --encoded-message {code}`"
            ),
        };
        let hint = match self.hint() {
            Some(hint) => format!("{said}\n{hint}"),
            None => said,
        };
        self.reworded(forno_aws::without_denial_code)
            .with_hint(hint)
    }

    fn reworded(mut self, reword: impl Fn(&str) -> String) -> Self {
        use ErrorKind as K;
        let mask = |text: &mut String| *text = reword(text);
        match &mut self.kind {
            K::Recipe(text)
            | K::Preflight(text)
            | K::NoBuilder(text)
            | K::Connect(text)
            | K::Seal(text)
            | K::Capture(text)
            | K::Publish(text)
            | K::Cancelled(text)
            | K::MachineGone { reason: text, .. }
            | K::Step { error: text, .. }
            | K::Check { error: text, .. } => mask(text),
            K::Circular(_)
            | K::Planning(_)
            | K::Network { .. }
            | K::OutOfTime { .. }
            | K::Ledger(_)
            | K::Io { .. }
            | K::Secret(_)
            | K::Reworded { .. }
            | K::Alive(_)
            | K::Over { .. }
            | K::BaseFailed(_) => {}
        }
        if let Some(hint) = self.hint() {
            let safe = reword(&hint);
            if safe != hint {
                self.hint = Some(safe);
            }
        }
        let (full, exit) = (self.full(), self.exit_code());
        let message = reword(&full);
        if message != full {
            self.kind = K::Reworded { message, exit };
        }
        self
    }

    /// The message with its causes, on one line.
    pub fn full(&self) -> String {
        Failure::of("error", self).to_string()
    }
}

impl<K: Into<ErrorKind>> From<K> for Error {
    fn from(kind: K) -> Self {
        Self::new(kind)
    }
}

/// An error of EC2 as a saga sees it.
#[derive(Debug)]
pub(crate) struct CallError(pub(crate) forno_aws::Error);

impl EffectError for CallError {
    fn happened(&self) -> Happened {
        match self.0.outcome() {
            forno_aws::Outcome::DidNotHappen => Happened::No,
            forno_aws::Outcome::Unknown => Happened::Unknown,
        }
    }

    fn failure(&self) -> Failure {
        Failure::new(self.0.code().unwrap_or("no-answer"), self.0.to_string())
    }
}

/// What to make of a failed effect: `failed` tells for an error of EC2.
pub(crate) fn of_effect(
    error: RunError<CallError>,
    failed: impl FnOnce(forno_aws::Error) -> ErrorKind,
) -> Error {
    match error {
        RunError::Ledger(error) => Error::new(error),
        RunError::Failed(CallError(error)) => {
            let hint = error.hint();
            let error = Error::new(failed(error));
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
        RunError::Cancelled => Error::cancelled("cancelled"),
        RunError::BrokeOff(effect) => Error::new(ErrorKind::Io {
            action: "see a call through",
            source: io::Error::other(format!("effect `{effect}` broke off")),
        }),
    }
}
