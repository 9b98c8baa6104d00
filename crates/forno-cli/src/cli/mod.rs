//! The command line as types: what can be said, not what is done about it.
//!
//! One file per command. A value that may also come from the environment names
//! its variable here, so that `--help` shows it; what `forno.toml` and defaults
//! add is decided in [`crate::settings`].

mod bake;
mod choices;
mod completions;
mod conduct;
mod duration;
mod images;
mod local;
mod plan;
mod policy;
mod records;
mod resume;
mod shell;
mod sweep;
mod tunnel;
mod validate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use bake::BakeArgs;
pub(crate) use choices::{Colour, Connect, MachineKind, OnFailure, Output};
pub(crate) use completions::CompletionsArgs;
pub(crate) use conduct::{ConductArgs, PaceChoice};
pub(crate) use images::ImagesArgs;
pub(crate) use local::{DoctorArgs, LocalArgs, LocalCommand, ResetArgs, ServeArgs};
pub(crate) use plan::PlanArgs;
pub(crate) use policy::PolicyArgs;
pub(crate) use records::{BakesArgs, ReplayArgs, ShowArgs};
pub(crate) use resume::ResumeArgs;
pub(crate) use shell::ShellArgs;
pub(crate) use sweep::SweepArgs;
pub(crate) use tunnel::TunnelArgs;
pub(crate) use validate::ValidateArgs;

/// Bakes Amazon machine images
///
/// forno launches a builder on EC2, provisions it as a recipe says, seals and
/// captures it, proves the image on a machine started from it, and takes
/// everything else down again. With --local the same bake runs on this
/// machine's own pocket EC2: no account, no cost.
#[derive(Debug, Parser)]
#[command(
    name = "forno",
    version,
    propagate_version = false,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = AFTER
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Begin with:
  forno local doctor            what this machine can run, and what to install
  forno validate                check every recipe of this repository
  forno plan IMAGE --local      see what a bake would do
  forno bake IMAGE --local      bake it here
  forno bake IMAGE              bake it on AWS, with your usual credentials

Exit codes:
  0 done                     21 cannot connect to a machine
  1 unexpected               30 a step failed
  2 wrong usage              31 a check or test failed
  3 nothing to do            40 capture failed
  10 recipe invalid          41 publishing failed
  11 credentials, preflight  50 resources left behind
  20 no builder              130 interrupted, all clean";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Run as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// When to use colour; `auto` obeys NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Colour,

    /// Log what forno does to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Bake(BakeArgs),
    Resume(ResumeArgs),
    Plan(PlanArgs),
    Policy(PolicyArgs),
    Validate(ValidateArgs),
    Images(ImagesArgs),
    Bakes(BakesArgs),
    Show(ShowArgs),
    Replay(ReplayArgs),
    Shell(ShellArgs),
    Tunnel(TunnelArgs),
    Sweep(SweepArgs),
    Local(LocalArgs),
    /// Print the JSON Schema of a recipe
    ///
    /// Editors complete and check recipes with it.
    #[command(after_help = "\
Examples:
  forno schema > recipe.schema.json
  # then as the first line of a recipe:
  #:schema ./recipe.schema.json")]
    Schema,
    Completions(CompletionsArgs),
}

/// Where to call, and as whom.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct WhereArgs {
    /// On this machine's own pocket EC2 instead of AWS
    ///
    /// Uses the endpoint of a running `forno local serve`, else starts one
    /// inside this process. Its images stay; its machines end with it.
    #[arg(long)]
    pub(crate) local: bool,

    /// The region; else AWS_REGION, `forno.toml`, the profile
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,

    /// The AWS profile; else AWS_PROFILE
    #[arg(long, value_name = "NAME", conflicts_with = "local")]
    pub(crate) profile: Option<String>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

/// What stands behind the pocket EC2.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct MachineArgs {
    /// The kind of machines of the pocket EC2
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        env = "FORNO_MACHINE",
        hide_env_values = true,
        default_value_t
    )]
    pub(crate) machine: MachineKind,

    /// Debian mirror for the pocket EC2's source image [default: the apt sources of this machine]
    #[arg(long, value_name = "URL", env = "FORNO_MIRROR", hide_env_values = true)]
    pub(crate) mirror: Option<String>,

    /// Certificates (PEM) that machines of the pocket EC2 trust besides Debian's own
    #[arg(
        long,
        value_name = "FILE",
        env = "FORNO_CA_BUNDLE",
        hide_env_values = true
    )]
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// The way to machines.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct WayArgs {
    /// How to reach machines, in place of what the recipes say in builder.connect
    #[arg(
        long,
        value_enum,
        value_name = "WAY",
        env = "FORNO_CONNECT",
        hide_env_values = true
    )]
    pub(crate) connect: Option<Connect>,
}

/// Values for the variables of recipes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Variables")]
pub(crate) struct VariableArgs {
    /// Give a variable a value; may be repeated, the last one of a name wins
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) vars: Vec<(String, String)>,

    /// Read variables from a TOML file; may be repeated, a later one wins
    #[arg(long = "var-file", value_name = "FILE")]
    pub(crate) var_files: Vec<PathBuf>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_variable_has_a_name_and_may_be_empty() {
        assert_eq!(variable("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(variable("a="), Ok(("a".into(), String::new())));
        assert!(variable("=b").is_err());
        assert!(variable("a").is_err());
    }
}
