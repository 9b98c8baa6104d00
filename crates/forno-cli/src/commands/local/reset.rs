//! `forno local reset`

use std::io::{BufRead, stdin};
use std::process;

use anyhow::Context as _;
use forno_bake::ExitCode;

use crate::cli::ResetArgs;
use crate::context::Context;
use crate::failure::CommandError;

pub(crate) fn run(arguments: &ResetArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let printer = context.printer;
    let folder = context.folders()?.local();
    if !folder.try_exists()? {
        printer.say(&format!(
            "nothing to remove: {} is not there",
            folder.display()
        ));
        return Ok(ExitCode::Done.into());
    }
    if let Some((info, _)) = forno_local::running_endpoint(&folder)? {
        return Err(CommandError::usage(format!(
            "the pocket EC2 runs on {} (process {}, {})",
            folder.display(),
            info.pid,
            info.url
        ))
        .hint("end it first")
        .into());
    }
    if !arguments.yes {
        if !printer.can_ask() {
            return Err(CommandError::usage("nobody can be asked here")
                .hint("--yes removes without asking")
                .into());
        }
        printer.say(&format!(
            "This removes all images of the pocket EC2: {}. Go on? [y/N]",
            folder.display()
        ));
        let mut answer = String::new();
        stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            printer.say("nothing removed");
            return Ok(ExitCode::Done.into());
        }
    }
    fs_err::remove_dir_all(&folder).context("remove the pocket EC2's state")?;
    printer.say(&format!("removed {}", folder.display()));
    Ok(ExitCode::Done.into())
}
