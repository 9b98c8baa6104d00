//! Errors at the edge: how they read, and which exit code they mean.
//!
//! Libraries have types of errors; commands pass them up as they are. Here, and
//! only here, they are looked through once more for what a program needs (the
//! code) and for what a person can do (hints).

use forno_bake::ExitCode;
use forno_recipe::Diagnostics;

use crate::printer::{OutputError, Printer};

/// A failure of the command itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    code: ExitCode,
    message: String,
    hint: Option<String>,
}

impl CommandError {
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints an error, its causes and what can be done, and gives its code.
pub(crate) fn report(error: &anyhow::Error, printer: Printer) -> ExitCode {
    if let Some(output) = find::<OutputError>(error)
        && output.is_broken_pipe()
    {
        return ExitCode::Done;
    }
    if let Some(diagnostics) = find::<Diagnostics>(error) {
        printer.say(&diagnostics.render(printer.colour));
        return ExitCode::RecipeInvalid;
    }
    printer.labelled(&printer.prose.bad("error:"), &told(error.as_ref()));
    for hint in hints(error) {
        printer.labelled(&printer.prose.hint(), &hint);
    }
    code(error)
}

/// Prints why one of several bakes came to nothing.
pub(crate) fn tell_bake(error: &forno_bake::Error, printer: Printer) {
    printer.labelled(&printer.prose.bad("error:"), &told(error));
    if let Some(hint) = error.hint() {
        printer.labelled(&printer.prose.hint(), &hint);
    }
}

/// The error and its causes; a cause that its effect has already told is left out.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let causes = std::iter::successors(Some(error), |error| error.source());
    for cause in causes {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn find<E: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref::<E>())
}

fn code(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = find::<CommandError>(error) {
        error.code
    } else if let Some(error) = find::<forno_bake::Error>(error) {
        error.exit_code()
    } else if let Some(forno_local::Error::Written { .. }) = find::<forno_local::Error>(error) {
        ExitCode::Usage
    } else if find::<forno_recipe::Circular>(error).is_some() {
        ExitCode::RecipeInvalid
    } else if find::<forno_aws::Error>(error).is_some()
        || find::<forno_local::Error>(error).is_some()
    {
        ExitCode::Preflight
    } else {
        ExitCode::Unexpected
    }
}

fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut hints = Vec::new();
    for cause in error.chain() {
        let hint = if let Some(error) = cause.downcast_ref::<CommandError>() {
            error.hint.clone()
        } else if let Some(error) = cause.downcast_ref::<forno_bake::Error>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<forno_aws::Error>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<forno_local::Error>() {
            match error {
                forno_local::Error::Damaged { .. } => {
                    Some("`forno local reset` begins anew, without its images".to_owned())
                }
                error => error.hint(),
            }
        } else if let Some(error) = cause.downcast_ref::<forno_machine::Error>() {
            error.hint().map(str::to_owned)
        } else {
            None
        };
        if let Some(hint) = hint
            && !hints.contains(&hint)
        {
            hints.push(hint);
        }
    }
    hints
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = std::io::Error::other("disk on fire");
        let error = Err::<(), _>(error)
            .context("cannot read a: disk on fire")
            .context("show")
            .unwrap_err();
        assert_eq!(told(error.as_ref()), "show: cannot read a: disk on fire");
    }

    #[test]
    fn a_code_is_found_under_context() {
        let error = CommandError::new(ExitCode::NothingToDo, "no").hint("look elsewhere");
        let error = anyhow::Error::new(error).context("outer");
        assert_eq!(code(&error), ExitCode::NothingToDo);
        assert_eq!(hints(&error), ["look elsewhere"]);
        assert_eq!(code(&anyhow::anyhow!("what?")), ExitCode::Unexpected);
    }
}
