//! `forno completions`

use std::process;

use clap::CommandFactory;
use forno_bake::ExitCode;

use crate::cli::{Cli, CompletionsArgs};
use crate::context::Context;

pub(crate) fn run(
    arguments: &CompletionsArgs,
    context: &Context,
) -> anyhow::Result<process::ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "forno", &mut script);
    context.printer.raw(&script)?;
    Ok(ExitCode::Done.into())
}
