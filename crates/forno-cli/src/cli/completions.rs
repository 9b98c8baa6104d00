//! `forno completions`

use clap::Args;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forno completions bash > /etc/bash_completion.d/forno
  forno completions zsh > ~/.zfunc/_forno
  forno completions fish > ~/.config/fish/completions/forno.fish")]
pub(crate) struct CompletionsArgs {
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}
