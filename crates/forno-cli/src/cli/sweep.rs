//! `forno sweep`

use std::time::Duration;

use clap::Args;

use super::duration::duration;
use super::{MachineArgs, WhereArgs};

/// Remove what dead bakes left behind
///
/// Takes up the bakes of this machine whose process is gone, by their ledgers, and
/// then looks for what other machines left: by its tags, once its time is over.
/// Living bakes, finished images and whatever has no tags of forno stay as they are.
/// An image that was proven before its bake died is marked as finished.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno sweep --dry-run
  forno sweep --region eu-west-1 --region us-east-1
  forno sweep --local

Exit codes: 0 nothing is left, 50 something could not be removed.")]
pub(crate) struct SweepArgs {
    /// Say what would be done, and change nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,

    /// Spare bakes that began less than this long ago, such as 2h or 3d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,

    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// On this machine's own pocket EC2 instead of AWS
    #[arg(long, help_heading = "Where")]
    pub(crate) local: bool,

    /// A region, may be repeated; else AWS_REGION, `forno.toml`, the profile
    #[arg(long = "region", value_name = "REGION", help_heading = "Where")]
    pub(crate) regions: Vec<String>,

    /// The AWS profile; else AWS_PROFILE
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "local",
        help_heading = "Where"
    )]
    pub(crate) profile: Option<String>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

impl SweepArgs {
    /// One place per region that is named; without any, the usual one.
    pub(crate) fn places(&self) -> Vec<WhereArgs> {
        let place = |region: Option<&String>| WhereArgs {
            local: self.local,
            region: region.cloned(),
            profile: self.profile.clone(),
            machine: self.machine.clone(),
        };
        if self.regions.is_empty() {
            return vec![place(None)];
        }
        self.regions
            .iter()
            .map(|region| place(Some(region)))
            .collect()
    }
}
