//! One file per command: arguments into options, one call into a library, an exit code.

mod bake;
mod bakes;
mod completions;
mod images;
mod local;
mod plan;
mod policy;
mod replay;
mod resume;
mod schema;
mod shell;
mod show;
mod sweep;
mod tunnel;
mod validate;

use std::process;

use crate::cli::{Command, LocalCommand};
use crate::context::Context;

pub(crate) fn run(command: Command, context: &Context) -> anyhow::Result<process::ExitCode> {
    match command {
        Command::Bake(arguments) => bake::run(&arguments, context),
        Command::Resume(arguments) => resume::run(&arguments, context),
        Command::Plan(arguments) => plan::run(&arguments, context),
        Command::Policy(arguments) => policy::run(&arguments, context),
        Command::Validate(arguments) => validate::run(&arguments, context),
        Command::Images(arguments) => images::run(&arguments, context),
        Command::Bakes(arguments) => bakes::run(&arguments, context),
        Command::Show(arguments) => show::run(&arguments, context),
        Command::Replay(arguments) => replay::run(&arguments, context),
        Command::Shell(arguments) => shell::run(&arguments, context),
        Command::Tunnel(arguments) => tunnel::run(&arguments, context),
        Command::Sweep(arguments) => sweep::run(&arguments, context),
        Command::Local(arguments) => match arguments.command {
            LocalCommand::Serve(arguments) => local::serve::run(&arguments, context),
            LocalCommand::Doctor(arguments) => local::doctor::run(&arguments, context),
            LocalCommand::Reset(arguments) => local::reset::run(&arguments, context),
        },
        Command::Schema => schema::run(context),
        Command::Completions(arguments) => completions::run(&arguments, context),
    }
}
