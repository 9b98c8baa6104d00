//! A repository of recipes: where it begins, which recipes it has, how one is named.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostics;
use crate::recipe::Recipe;

/// A repository with its `forno.toml`; without one, a folder whose `images/`
/// folder holds recipes.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

/// A recipe of a project, not yet read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeEntry {
    /// `image.name`; the file's stem where it could not be read.
    pub name: String,
    pub path: PathBuf,
    /// `image.from`.
    pub from: Option<String>,
}

/// Values from outside.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// `--var NAME=VALUE`, in order; the last one of a name wins.
    pub vars: Vec<(String, String)>,
    /// `--var-file`, in order; a later one wins.
    pub var_files: Vec<PathBuf>,
    /// The environment, for `from = "env:…"` and `FORNO_VAR_…`.
    pub env: BTreeMap<String, String>,
    pub unset: Unset,
    /// The key by which secrets enter the digest (`FORNO_DIGEST_KEY`).
    pub digest_key: Option<secrecy::SecretString>,
}

/// What happens to a variable for which nothing gives a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// It is a problem.
    #[default]
    Refuse,
    /// A value is made up, so that the rest can be checked without secrets
    /// at hand. Never for a bake.
    StandIn,
}

impl Project {
    /// The project that `start` lies in: the nearest folder upwards with a
    /// `forno.toml`, else `start` itself with the defaults.
    pub fn find(start: &Path) -> Result<Self, Diagnostics> {
        let _ = start;
        todo!()
    }

    /// The folder of `forno.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The region of `forno.toml`.
    pub fn region(&self) -> Option<&str> {
        todo!()
    }

    /// All recipes, by name.
    pub fn recipes(&self) -> &[RecipeEntry] {
        todo!()
    }
}

/// Reads and checks one recipe, named by `image.name`, by the stem of its
/// file, or by a path.
pub fn load(project: &Project, image: &str, inputs: &Inputs) -> Result<Recipe, Diagnostics> {
    let _ = (project, image, inputs);
    todo!()
}
