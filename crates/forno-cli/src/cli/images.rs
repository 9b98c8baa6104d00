//! `forno images`

use clap::Args;

use super::WhereArgs;

/// List the images that forno made
///
/// Newest first, of the account (or with --local of the pocket EC2) and its region.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno images
  forno images worker --local
  forno images --json | jq -r '.[0].id'")]
pub(crate) struct ImagesArgs {
    /// Only images of this recipe
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) place: WhereArgs,
}
