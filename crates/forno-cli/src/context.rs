//! What every command has at hand.

use std::future::Future;
use std::path::PathBuf;

use anyhow::Context as _;
use forno_recipe::{Inputs, Project, Unset};
use secrecy::SecretString;

use crate::cli::VariableArgs;
use crate::environment::Environment;
use crate::printer::Printer;
use crate::settings::Folders;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) printer: Printer,
    /// Where the command was started, or was told to be.
    pub(crate) directory: PathBuf,
}

impl Context {
    pub(crate) fn folders(&self) -> anyhow::Result<Folders> {
        Ok(Folders::of(&self.environment)?)
    }

    pub(crate) fn project(&self) -> anyhow::Result<Project> {
        Ok(Project::find(&self.directory)?)
    }

    /// What `forno.toml` says for commands that need no recipes.
    pub(crate) fn settings_of_project(&self) -> anyhow::Result<Project> {
        Ok(Project::find_without_recipes(&self.directory)?)
    }

    /// What recipes are given from outside.
    pub(crate) fn inputs(&self, arguments: &VariableArgs, unset: Unset) -> Inputs {
        Inputs {
            vars: arguments.vars.clone(),
            var_files: arguments
                .var_files
                .iter()
                .map(|file| self.directory.join(file))
                .collect(),
            env: self.environment.all().clone(),
            unset,
            digest_key: self
                .environment
                .get("FORNO_DIGEST_KEY")
                .map(SecretString::from),
        }
    }
}

/// Runs a command that waits. A command that does not never pays for a runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(future);
    // A thread that waits for a terminal's answer must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Goes where the command is told to be, and says where that is.
pub(crate) fn enter(directory: Option<&std::path::Path>) -> anyhow::Result<PathBuf> {
    if let Some(directory) = directory {
        std::env::set_current_dir(directory)
            .with_context(|| format!("cannot go to {}", directory.display()))?;
    }
    std::env::current_dir().context("cannot tell the current folder")
}
