//! `forno policy`

use clap::Args;

use super::{VariableArgs, WayArgs};

/// Print the IAM policy that baking needs, and no more
///
/// Made from the recipes alone, without a call to AWS. It covers their bakes, `forno
/// resume`, and `forno sweep` of what they left. What is made must carry forno's tags;
/// only what carries them can be changed or removed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno policy --all --region eu-west-1 > policy.json
  aws iam create-policy --policy-name forno --policy-document file://policy.json")]
pub(crate) struct PolicyArgs {
    /// Images to bake: names of recipes, or their files
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    pub(crate) images: Vec<String>,

    /// All recipes of this repository
    #[arg(long, conflicts_with = "images")]
    pub(crate) all: bool,

    /// Only in this region, and those that images are published to; else in all
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,

    #[command(flatten)]
    pub(crate) way: WayArgs,

    #[command(flatten)]
    pub(crate) variables: VariableArgs,
}
