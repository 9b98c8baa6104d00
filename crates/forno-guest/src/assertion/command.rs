//! A command that must end well, and may have to say something.

use forno_events::Stream;
use forno_link::{Command, Exit, Link, Stdin, capture};
use secrecy::ExposeSecret;

use super::facts::Comparison;
use crate::{CommandAssertion, Mismatch, StepContext, StepError};

/// Reads the commands from its standard input, where no process list shows
/// them, and leaves them an empty one of their own. The pipe is needed since a
/// socket, which standard input may be, cannot be opened by its number.
const RUN: &str = "cat | { exec /bin/sh -e /dev/fd/3 3<&0 </dev/null; }";

pub(super) async fn evaluate(
    link: &dyn Link,
    wanted: &CommandAssertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    let command = Command::shell(RUN).sudo(wanted.sudo).stdin(Stdin::Bytes(
        wanted.command.expose_secret().to_owned().into(),
    ));
    let output = capture(link, command, &ctx.cancel).await?;
    for (stream, text) in [
        (Stream::Stdout, &output.stdout),
        (Stream::Stderr, &output.stderr),
    ] {
        for line in text.lines() {
            ctx.line(stream, line);
        }
    }
    let mut comparison = Comparison::default();
    let ended_well =
        matches!(output.exit, Exit::Code(code) if wanted.valid_exit_codes.contains(&code));
    if !ended_well {
        let codes: Vec<String> = wanted.valid_exit_codes.iter().map(u32::to_string).collect();
        let found = match output.reason() {
            reason if reason == output.exit.to_string() => reason,
            reason => format!("{} ({reason})", output.exit),
        };
        comparison.differs(
            "the command",
            format!("exit status {}", codes.join(" or ")),
            found,
        );
    } else if let Some(text) = &wanted.contains
        && !output.stdout.contains(text.expose_secret())
    {
        let found = match output.stdout.trim() {
            "" => "nothing".to_owned(),
            said => said.lines().take(5).collect::<Vec<_>>().join("\n"),
        };
        comparison.differs("output of the command", "the text wanted", found);
    }
    Ok(comparison.0)
}
