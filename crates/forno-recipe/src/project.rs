//! A repository of recipes: where it begins, which recipes it has, how one is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::check;
use crate::diagnostic::{Diagnostics, Problem};
use crate::model::{AssumeRole, ProjectFile};
use crate::node::{Node, Role, parse};
use crate::recipe::Recipe;
use crate::shape::{self, Templating};
use crate::suggest::closest;
use crate::vars::reason;
use crate::walk::{Walk, list};

/// The name of the project's file.
pub const PROJECT_FILE: &str = "forno.toml";

/// A repository with its `forno.toml`; without one, a folder whose `images/`
/// folder holds recipes.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    /// Paths in messages are relative to it.
    seen_from: PathBuf,
    region: Option<String>,
    roles: Vec<AssumeRole>,
    /// The tree of `forno.toml`.
    pub(crate) defaults: Option<Node>,
    recipes: Vec<RecipeEntry>,
    /// Every variable that any recipe or `forno.toml` declares.
    pub(crate) declared: BTreeSet<String>,
}

/// A recipe of a project, not yet read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeEntry {
    /// `image.name`; the file's stem where it could not be read.
    pub name: String,
    pub path: PathBuf,
    /// `image.from`.
    pub from: Option<String>,
    /// `image.architecture`, as it is written.
    pub(crate) architecture: Option<String>,
}

/// Values from outside.
#[derive(Clone, Default)]
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

/// Names alone: any value may be a secret.
impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vars: Vec<&str> = self.vars.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Inputs")
            .field("vars", &vars)
            .field("var_files", &self.var_files)
            .field("unset", &self.unset)
            .finish_non_exhaustive()
    }
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

/// Whether the recipes of a project are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recipes {
    Read,
    Ignored,
}

impl Project {
    /// The project that `start` (a folder) lies in: the nearest folder upwards
    /// with a `forno.toml`, else `start` itself with the defaults.
    pub fn find(start: &Path) -> Result<Self, Diagnostics> {
        Self::find_with(start, Recipes::Read)
    }

    /// The same for commands that need no recipes: one that is broken must not stand in
    /// their way.
    pub fn find_without_recipes(start: &Path) -> Result<Self, Diagnostics> {
        Self::find_with(start, Recipes::Ignored)
    }

    fn find_with(start: &Path, recipes: Recipes) -> Result<Self, Diagnostics> {
        let start = std::path::absolute(start).unwrap_or_else(|_| start.to_owned());
        let root = start
            .ancestors()
            .find(|folder| folder.join(PROJECT_FILE).is_file())
            .unwrap_or(&start);
        Self::read(root.to_owned(), start.clone(), recipes)
    }

    /// The project that an image belongs to: another one when the image is
    /// named by a path and a nearer `forno.toml` stands above it.
    pub fn containing(&self, image: &str) -> Result<Self, Diagnostics> {
        let Some(path) = self.as_path(image) else {
            return Ok(self.clone());
        };
        let root = path
            .ancestors()
            .skip(1)
            .find(|folder| folder.join(PROJECT_FILE).is_file());
        match root {
            Some(root) if root != self.root => {
                Self::read(root.to_owned(), self.seen_from.clone(), Recipes::Read)
            }
            _ => Ok(self.clone()),
        }
    }

    fn read(root: PathBuf, seen_from: PathBuf, recipes: Recipes) -> Result<Self, Diagnostics> {
        let mut project = Self {
            root,
            seen_from,
            region: None,
            roles: Vec::new(),
            defaults: None,
            recipes: Vec::new(),
            declared: BTreeSet::new(),
        };
        let mut diagnostics = Diagnostics::default();
        let path = project.root.join(PROJECT_FILE);
        let mut settings = ProjectFile::default();
        if path.is_file() {
            let node = project.parse(&path)?;
            let mut walk = Walk::new(None).of("`forno.toml`");
            let json = walk.value(&node, &shape::PROJECT, Templating::Never, "");
            diagnostics.extend(walk.diagnostics);
            if let Some(read) = json.and_then(|json| serde_json::from_value(json).ok()) {
                settings = read;
                check::check_roles(&node, &settings.assume_role, &mut diagnostics);
            }
            project.defaults = Some(node);
        }
        project.region = settings.region;
        project.roles = settings.assume_role;
        if recipes == Recipes::Read {
            project.find_recipes(&settings.images, &mut diagnostics);
        }
        diagnostics.into_result(project)
    }

    fn find_recipes(&mut self, folders: &[String], diagnostics: &mut Diagnostics) {
        let mut entries: Vec<(RecipeEntry, Option<Node>)> = Vec::new();
        for folder in folders {
            let problem = |text: String| {
                let problem = Problem::new(text);
                match self
                    .defaults
                    .as_ref()
                    .filter(|node| node.get("images").is_some())
                {
                    Some(node) => problem
                        .at(node.place(&["images"]))
                        .label("recipes lie there"),
                    None => problem,
                }
            };
            let path = normal(&self.root.join(folder));
            let files = match fs_err::read_dir(&path) {
                Ok(files) => files,
                Err(error) => {
                    // Not everybody has recipes yet; who names a folder does.
                    let named = self
                        .defaults
                        .as_ref()
                        .is_some_and(|node| node.get("images").is_some());
                    if named {
                        diagnostics.push(problem(format!(
                            "cannot read the folder `{folder}`: {}",
                            reason(&error)
                        )));
                    }
                    continue;
                }
            };
            let mut files: Vec<PathBuf> = files
                .filter_map(|file| Some(file.ok()?.path()))
                .filter(|file| {
                    file.extension()
                        .is_some_and(|extension| extension == "toml")
                        && file.file_name().is_none_or(|name| name != PROJECT_FILE)
                })
                .collect();
            files.sort();
            for file in files {
                // What is wrong with it is told when it is loaded.
                let node = self.parse(&file).ok();
                entries.push((entry(&file, node.as_ref()), node));
            }
        }
        for (index, (entry, node)) in entries.iter().enumerate() {
            let earlier = entries[..index]
                .iter()
                .find(|(other, _)| other.name == entry.name);
            if let (Some((_, Some(first))), Some(node)) = (earlier, node) {
                diagnostics.push(
                    Problem::new(format!("two recipes are named `{}`", entry.name))
                        .at(node.place(&["image", "name"]))
                        .label("the second one")
                        .related(first.place(&["image", "name"]), "the first one"),
                );
            }
        }
        let trees = entries
            .iter()
            .filter_map(|(_, node)| node.as_ref())
            .chain(&self.defaults);
        self.declared = trees
            .filter_map(|node| node.get("vars"))
            .flat_map(Node::entries)
            .map(|entry| entry.key.clone())
            .collect();
        self.recipes = entries.into_iter().map(|(entry, _)| entry).collect();
        self.recipes.sort_by(|a, b| a.name.cmp(&b.name));
    }

    pub(crate) fn parse(&self, path: &Path) -> Result<Node, Diagnostics> {
        let shown = self.show(path);
        match fs_err::read_to_string(path) {
            Ok(text) => parse(path.to_owned(), shown, text, Role::Recipe),
            Err(error) => {
                let mut diagnostics = Diagnostics::default();
                diagnostics.push(Problem::new(format!(
                    "cannot read `{shown}`: {}",
                    reason(&error)
                )));
                Err(diagnostics)
            }
        }
    }

    /// The folder of `forno.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Roles that `forno.toml` wants assumed, in this order.
    pub fn roles(&self) -> &[AssumeRole] {
        &self.roles
    }

    /// The region of `forno.toml`.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// All recipes, by name.
    pub fn recipes(&self) -> &[RecipeEntry] {
        &self.recipes
    }

    /// A path as messages show it: relative to where the user stands.
    pub fn show(&self, path: &Path) -> String {
        let target: Vec<Component<'_>> = path.components().collect();
        let base: Vec<Component<'_>> = self.seen_from.components().collect();
        let common = target.iter().zip(&base).take_while(|(a, b)| a == b).count();
        let up = base.len() - common;
        // Far away, the full path says more than a row of `..`.
        if up > 2 || common <= 1 {
            return path.display().to_string();
        }
        let mut shown = PathBuf::new();
        shown.extend(std::iter::repeat_n(Component::ParentDir, up));
        shown.extend(&target[common..]);
        shown.display().to_string()
    }

    /// The recipe named by `image.name`, by its file's stem or by a path.
    pub(crate) fn entry(&self, image: &str) -> Result<RecipeEntry, Diagnostics> {
        let found = self
            .recipes
            .iter()
            .find(|entry| entry.name == image)
            .or_else(|| self.recipes.iter().find(|entry| stem(&entry.path) == image));
        if let Some(entry) = found {
            return Ok(entry.clone());
        }
        if let Some(path) = self.as_path(image) {
            let known = self.recipes.iter().find(|entry| entry.path == path);
            return Ok(known
                .cloned()
                .unwrap_or_else(|| entry(&path, self.parse(&path).ok().as_ref())));
        }
        let names = || self.recipes.iter().map(|entry| entry.name.as_str());
        let problem = Problem::new(format!("there is no recipe `{image}`"));
        let mut diagnostics = Diagnostics::default();
        diagnostics.push(match closest(image, names()) {
            Some(close) => problem.help(format!("did you mean `{close}`?")),
            None if self.recipes.is_empty() => problem.help(format!(
                "no recipes were found in `{}`; a `{PROJECT_FILE}` says where they lie: `images = [\"images\"]`",
                self.show(&self.root.join("images"))
            )),
            None => problem.help(format!("recipes here: {}", list(names(), "and"))),
        });
        Err(diagnostics)
    }

    /// The file that `image` is the path of, when it is one.
    fn as_path(&self, image: &str) -> Option<PathBuf> {
        let named = self.recipes.iter().any(|entry| entry.name == image);
        let path = normal(&self.seen_from.join(image));
        (!named && path.is_file()).then_some(path)
    }
}

/// Reads and checks one recipe, named by `image.name`, by the stem of its
/// file, or by a path. A recipe named by its path belongs to the nearest
/// `forno.toml` above it, see [`Project::containing`].
pub fn load(project: &Project, image: &str, inputs: &Inputs) -> Result<Recipe, Diagnostics> {
    let project = project.containing(image)?;
    let entry = project.entry(image)?;
    check::recipe(&project, &entry, inputs)
}

fn entry(path: &Path, node: Option<&Node>) -> RecipeEntry {
    let image = |key: &str| {
        let text = node?.get("image")?.get(key)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    RecipeEntry {
        name: image("name").unwrap_or_else(|| stem(path).to_owned()),
        path: path.to_owned(),
        from: image("from"),
        architecture: image("architecture"),
    }
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("")
}

/// Without `.` and `..`, so that one file has one path. Links are left alone:
/// where a recipe's paths lead must not depend on what links to it.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    normal.push(component);
                }
            }
            other => normal.push(other),
        }
    }
    normal
}
