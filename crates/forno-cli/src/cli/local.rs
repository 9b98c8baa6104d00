//! `forno local serve | doctor | reset`

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use super::{ConductArgs, MachineArgs};

/// The pocket EC2 of this machine
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    #[command(subcommand)]
    pub(crate) command: LocalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LocalCommand {
    Serve(ServeArgs),
    Doctor(DoctorArgs),
    Reset(ResetArgs),
}

/// Run the pocket EC2 for any EC2 client, until interrupted
///
/// Prints the environment that clients need on standard output. `forno bake
/// --local` in another terminal uses it too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno local serve --listen 127.0.0.1:4566
  forno local serve --faults faults.toml --pace ec2     as bad and as slow as EC2

  # in another terminal, with the lines that it printed:
  export AWS_ENDPOINT_URL=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_REGION=…
  aws ec2 describe-images --owners 136693071363")]
pub(crate) struct ServeArgs {
    /// Where to listen, on loopback only [default: a free port of 127.0.0.1]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "FORNO_LISTEN",
        hide_env_values = true
    )]
    pub(crate) listen: Option<SocketAddr>,

    /// The region that holds the Debian source image [default: us-east-1]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    #[command(flatten)]
    pub(crate) conduct: ConductArgs,
}

/// Say what kinds of machines can run here, and what to install
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove the pocket EC2's images, snapshots, keys and credentials
///
/// The made Debian disk stays in the cache. Refuses while an endpoint runs on it.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}
