//! `forno schema`

use std::process;

use forno_bake::ExitCode;

use crate::context::Context;

pub(crate) fn run(context: &Context) -> anyhow::Result<process::ExitCode> {
    // Always laid out: it is a file that people read and keep under version control.
    let text = serde_json::to_string_pretty(&forno_recipe::schema())?;
    context.printer.line(&text)?;
    Ok(ExitCode::Done.into())
}
