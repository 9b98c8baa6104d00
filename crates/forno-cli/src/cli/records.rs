//! `forno bakes`, `forno show`, `forno replay`: what this machine remembers.

use clap::Args;

use super::Output;

/// List the bakes of this machine
///
/// Newest last. Each one's folder holds its recipe, events, ledger, output and manifest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno bakes
  forno bakes worker --json")]
pub(crate) struct BakesArgs {
    /// Only bakes of this image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show one bake: how it ended, steps, timings, what was made
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno show                       the last bake
  forno show worker                the newest bake of worker
  forno show worker --json         its manifest")]
pub(crate) struct ShowArgs {
    /// A bake as `forno bakes` lists it, an image for its newest, or `last`
    #[arg(value_name = "BAKE", default_value = "last")]
    pub(crate) bake: String,

    /// Print the manifest as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Render a recorded bake again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno replay last
  forno replay worker --output bars --speed 10
  forno replay worker --output json > events.jsonl")]
pub(crate) struct ReplayArgs {
    /// A bake as `forno bakes` lists it, an image for its newest, or `last`
    #[arg(value_name = "BAKE", default_value = "last")]
    pub(crate) bake: String,

    /// How to show it; `auto` is plain, or bars with --speed on a terminal
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub(crate) output: Output,

    /// Play in time, this many times as fast [default: all at once]
    #[arg(long, value_name = "FACTOR", value_parser = speed)]
    pub(crate) speed: Option<f64>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && (0.01..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("expected a number from 0.01 to 10000".to_owned()),
    }
}
