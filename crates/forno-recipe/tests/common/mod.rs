//! A project in a temporary folder.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use forno_recipe::{Diagnostics, Inputs, Project, Recipe, load};

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
}

/// Enough above a test's own tables for a recipe to be whole.
pub(crate) const HEAD: &str = r#"[image]
name = "worker"
[source]
ssm = "/aws/service/debian/release/12/latest/amd64"
"#;

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A project whose only recipe is `images/worker.toml`.
    pub(crate) fn with(recipe: &str) -> Self {
        Self::new().file("images/worker.toml", recipe)
    }

    /// The same, with [`HEAD`] above.
    pub(crate) fn below_head(tables: &str) -> Self {
        Self::with(&format!("{HEAD}{tables}"))
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) {
        fs_err::set_permissions(self.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn project(&self) -> Result<Project, Diagnostics> {
        Project::find(self.root())
    }

    pub(crate) fn load_with(&self, image: &str, inputs: &Inputs) -> Result<Recipe, Diagnostics> {
        load(&self.project()?, image, inputs)
    }

    pub(crate) fn load(&self) -> Result<Recipe, Diagnostics> {
        self.load_with("worker", &Inputs::default())
    }

    /// What a person would see; the test fails when there is nothing wrong.
    pub(crate) fn complaint(&self) -> String {
        self.complaint_of("worker", &Inputs::default())
    }

    pub(crate) fn complaint_of(&self, image: &str, inputs: &Inputs) -> String {
        let text = self
            .load_with(image, inputs)
            .expect_err("this recipe should be refused")
            .render(false);
        text.replace(self.root().to_str().unwrap(), "[project]")
    }
}

pub(crate) fn inputs(vars: &[(&str, &str)]) -> Inputs {
    Inputs {
        vars: pairs(vars).collect(),
        ..Inputs::default()
    }
}

pub(crate) fn environment(env: &[(&str, &str)]) -> Inputs {
    Inputs {
        env: pairs(env).collect(),
        ..Inputs::default()
    }
}

fn pairs<'a>(items: &'a [(&str, &str)]) -> impl Iterator<Item = (String, String)> + 'a {
    items
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}
