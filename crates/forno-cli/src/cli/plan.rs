//! `forno plan`

use clap::Args;

use super::{VariableArgs, WayArgs, WhereArgs};

/// Show what a bake would do, and why; change nothing
///
/// Resolves the source image, the network and the variables, asks EC2 whether
/// each call would be allowed, and says what changed since the newest image.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno plan worker
  forno plan --all --if-changed    what the nightly run would bake
  forno plan worker --local --json")]
pub(crate) struct PlanArgs {
    /// Images to plan: names of recipes, or their files
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    pub(crate) images: Vec<String>,

    /// Plan every recipe of this repository
    #[arg(long, conflicts_with = "images")]
    pub(crate) all: bool,

    /// Plan for `bake --if-changed`: a base that has not changed is not baked
    #[arg(long)]
    pub(crate) if_changed: bool,

    #[command(flatten)]
    pub(crate) way: WayArgs,

    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) variables: VariableArgs,

    #[command(flatten)]
    pub(crate) place: WhereArgs,
}
