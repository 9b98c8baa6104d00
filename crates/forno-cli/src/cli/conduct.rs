//! How the pocket EC2 behaves: what goes wrong on purpose, and how slowly.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// How the pocket EC2 behaves.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Conduct of the pocket EC2")]
pub(crate) struct ConductArgs {
    /// Let calls fail, hang and lose their replies as a TOML file says
    ///
    /// docs/PROTOCOL.md has an example under "Faults".
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,

    /// How long states last: `instant`, `ec2`, or a TOML file of durations [default: instant]
    ///
    /// docs/PROTOCOL.md has the durations under "Pace".
    #[arg(long, value_name = "PACE")]
    pub(crate) pace: Option<PaceChoice>,
}

/// How long states last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PaceChoice {
    Instant,
    Ec2,
    File(PathBuf),
}

impl FromStr for PaceChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "instant" => Self::Instant,
            "ec2" => Self::Ec2,
            file => Self::File(file.into()),
        })
    }
}
