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
/// An image that was proven before its bake died is marked as finished. One that a
/// machine or a launch template of somebody else uses stays.
///
/// With --packer-leftovers also what killed builds of Packer left is looked for: key
/// pairs and security groups named packer_UUID, which tells their age, and their
/// machines. Each is asked about; what is younger than a day (or --older-than) stays.
///
/// The first Ctrl-C begins no further removal and sees through what is under way. The
/// second waits for nothing. The third leaves at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno sweep --dry-run
  forno sweep --region eu-west-1 --region us-east-1
  forno sweep --all-regions --older-than 6h
  forno sweep --packer-leftovers --dry-run
  forno sweep --local

Exit codes: 0 nothing is left, 11 a region could not be looked at (with --all-regions:
for another reason than that this account may not), 50 something could not be removed,
130 interrupted.")]
pub(crate) struct SweepArgs {
    /// Say what would be done, and change nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,

    /// Spare bakes that began less than this long ago, such as 2h or 3d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,

    /// Also remove what killed builds of Packer left, and ask about each
    #[arg(long)]
    pub(crate) packer_leftovers: bool,

    /// Do not ask
    #[arg(long, short = 'y', requires = "packer_leftovers")]
    pub(crate) yes: bool,

    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// On this machine's own pocket EC2 instead of AWS
    #[arg(long, help_heading = "Where")]
    pub(crate) local: bool,

    /// A region, may be repeated; else AWS_REGION, `forno.toml`, the profile
    #[arg(long = "region", value_name = "REGION", help_heading = "Where")]
    pub(crate) regions: Vec<String>,

    /// Every region that is enabled for the account
    #[arg(long, conflicts_with = "regions", help_heading = "Where")]
    pub(crate) all_regions: bool,

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
    /// Where to begin: in the first of the regions, or the usual one.
    pub(crate) fn place(&self) -> WhereArgs {
        WhereArgs {
            local: self.local,
            region: self.regions.first().cloned(),
            profile: self.profile.clone(),
            machine: self.machine.clone(),
        }
    }
}
