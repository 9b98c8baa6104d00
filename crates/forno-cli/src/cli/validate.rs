//! `forno validate`

use clap::Args;

use super::VariableArgs;

/// Check recipes without calling anything
///
/// Tells everything that is wrong at once, with file, line and column. A
/// variable for which nothing gives a value is passed over unless --strict, so
/// that recipes can be checked where secrets are not at hand.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno validate                   every recipe of this repository
  forno validate worker hello.toml
  forno validate --strict --var-file production.toml")]
pub(crate) struct ValidateArgs {
    /// Images to check [default: every recipe of this repository]
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,

    /// A variable without a value is a problem, as it is for a bake
    #[arg(long)]
    pub(crate) strict: bool,

    /// Print problems as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) variables: VariableArgs,
}
