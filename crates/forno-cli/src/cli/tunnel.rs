//! `forno tunnel`

use clap::Args;

/// Open a local port to a port of the builder of a running or kept bake
///
/// Connections to the local port, which is on 127.0.0.1 alone, end at that port of
/// the machine's own loopback. Over SSH it uses the ssh of this machine; where
/// Systems Manager is the way in, each connection is a session of it. Ends with
/// Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno tunnel worker 8080             then open http://127.0.0.1:8080
  forno tunnel last 5432 --listen 0    on a free port, which is printed")]
pub(crate) struct TunnelArgs {
    /// A bake as `forno bakes` lists it, an image for its newest, or `last`
    #[arg(value_name = "BAKE")]
    pub(crate) bake: String,

    /// The port there
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// The port here; 0 for a free one. Else the same as there
    #[arg(long, value_name = "PORT")]
    pub(crate) listen: Option<u16>,

    /// The AWS profile, where Systems Manager is the way in; else AWS_PROFILE
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}
