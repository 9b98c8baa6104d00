//! `forno`: from the command line to one call into a library, and back to an exit code.

mod ask;
mod cli;
mod commands;
mod context;
mod environment;
mod failure;
mod place;
mod printer;
mod recipes;
mod settings;
mod signals;
mod ssh;
mod stage;
mod tools;
mod trace;

use std::ffi::OsString;
use std::process;

use clap::Parser;

use crate::cli::Cli;
use crate::context::Context;
use crate::environment::Environment;
use crate::printer::Printer;

fn main() -> process::ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = forno_machine::helper_main(&arguments) {
        return code;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let environment = Environment::capture();
    let printer = Printer::new(cli.global.color, &environment, cli.global.verbose > 0);
    trace::start(cli.global.verbose, &environment, printer.colour);
    match run(cli, environment, printer) {
        Ok(code) => code,
        Err(error) => failure::report(&error, printer).into(),
    }
}

fn run(cli: Cli, environment: Environment, printer: Printer) -> anyhow::Result<process::ExitCode> {
    let directory = context::enter(cli.global.directory.as_deref())?;
    let context = Context {
        environment,
        printer,
        directory,
    };
    commands::run(cli.command, &context)
}

/// Help and version are no errors; the rest is wrong usage.
fn usage(error: &clap::Error) -> process::ExitCode {
    // Where this cannot be printed, nothing can.
    drop(error.print());
    u8::try_from(error.exit_code()).map_or(process::ExitCode::FAILURE, process::ExitCode::from)
}
