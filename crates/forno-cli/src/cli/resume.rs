//! `forno resume`

use clap::Args;

use super::{OnFailure, Output, VariableArgs, WhereArgs};

/// Go on with a bake whose process is gone
///
/// From its capture on, a bake that was killed goes on from wherever this machine's
/// records say it was. Before that it takes up the builder, if that still runs: what
/// has passed on it is not done again, and a shell step that was cut off is found
/// where it is by now. The key to the builder is on no disk; the kernel keeps it for
/// you until the bake's time is over. What cannot be taken up is taken down, and the
/// reason told.
///
/// The recipe, its files and its variables must be those that the bake was begun
/// with, or nothing is done; secrets that were given on the command line are given
/// again. Only an image that is made already is proven with whatever the tests are
/// now. The region is that of the bake.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno resume                               the last bake
  forno resume worker                        the newest bake of worker
  forno resume worker --local                of a `forno local serve` that still runs

Exit codes: those of `forno bake`; 3 the bake is over already.")]
pub(crate) struct ResumeArgs {
    /// A bake as `forno bakes` lists it, an image for its newest, or `last`
    #[arg(value_name = "BAKE", default_value = "last")]
    pub(crate) bake: String,

    /// What becomes of the builder when it fails again
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        env = "FORNO_ON_FAILURE",
        hide_env_values = true,
        default_value_t
    )]
    pub(crate) on_failure: OnFailure,

    /// How to show it
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        env = "FORNO_OUTPUT",
        hide_env_values = true,
        default_value_t
    )]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) variables: VariableArgs,

    #[command(flatten)]
    pub(crate) place: WhereArgs,
}
