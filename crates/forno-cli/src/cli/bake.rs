//! `forno bake`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{ConductArgs, OnFailure, Output, VariableArgs, WayArgs, WhereArgs};

/// Bake images
///
/// Launches a builder, runs the steps of the recipe on it, checks and seals it,
/// captures the image, starts a machine from it to run its tests, and takes
/// everything else down. What an image starts `from` is baked first when it is
/// named too; images that do not need one another are baked side by side.
///
/// The first Ctrl-C stops and takes everything down. The second asks for every
/// removal and waits for none. The third leaves at once and says where the
/// ledger lies.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno bake worker --local                  on this machine
  forno bake base worker                     base first, then worker from it
  forno bake hello.toml                      a recipe by its file
  forno bake --all --if-changed              the nightly run; exit code 3: nothing to do
  forno bake worker --no-image               do its steps and checks pass?
  forno bake worker --on-failure keep        then, in another terminal: forno shell
  forno bake worker --output json | jq .     for programs
  read -r image ami < <(forno bake worker --output quiet)")]
pub(crate) struct BakeArgs {
    /// Images to bake: names of recipes, or their files
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    pub(crate) images: Vec<String>,

    /// Bake every recipe of this repository
    #[arg(long, conflicts_with = "images")]
    pub(crate) all: bool,

    /// Bake only what differs from its newest image, and say why
    #[arg(long)]
    pub(crate) if_changed: bool,

    /// Only try: do all that is done on the builder, and make no image
    #[arg(long)]
    pub(crate) no_image: bool,

    /// What becomes of the builder of a failed bake
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        env = "FORNO_ON_FAILURE",
        hide_env_values = true,
        default_value_t
    )]
    pub(crate) on_failure: OnFailure,

    /// End a machine that has heard nothing of forno for so long, such as 30m; else as
    /// long as SSH may take to answer, and five minutes more
    #[arg(
        long,
        value_name = "DURATION",
        env = "FORNO_ORPHAN_AFTER",
        hide_env_values = true,
        value_parser = super::duration::patience
    )]
    pub(crate) orphan_after: Option<Duration>,

    #[command(flatten)]
    pub(crate) way: WayArgs,

    /// How many bakes at once
    #[arg(
        long,
        value_name = "N",
        env = "FORNO_PARALLEL",
        hide_env_values = true,
        default_value = "4",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub(crate) parallel: u16,

    /// Add what was made to this file, as Packer's `manifest` post-processor does
    #[arg(
        long,
        value_name = "FILE",
        env = "FORNO_PACKER_MANIFEST",
        hide_env_values = true
    )]
    pub(crate) packer_manifest: Option<PathBuf>,

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

    #[command(flatten)]
    pub(crate) conduct: ConductArgs,
}
