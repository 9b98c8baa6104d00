//! `forno shell`

use clap::Args;

/// Log in to the builder of a running or kept bake
///
/// Uses the ssh of this machine, with the bake's own key and pinned host key. Where
/// Systems Manager is the only way in, a terminal goes by a session of it, and a
/// command by Run Command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno shell                      the builder of the last bake
  forno shell worker
  forno shell worker -- systemctl --failed")]
pub(crate) struct ShellArgs {
    /// A bake as `forno bakes` lists it, an image for its newest, or `last`
    #[arg(value_name = "BAKE", default_value = "last")]
    pub(crate) bake: String,

    /// The AWS profile, where Run Command is the way in; else AWS_PROFILE
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// A command to run there instead of a shell
    #[arg(value_name = "COMMAND", last = true)]
    pub(crate) command: Vec<String>,
}
