//! Recipes put together.

/// A recipe of the Debian source image, or of another recipe.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    name: String,
    from: Option<String>,
    head: String,
    body: String,
}

impl Recipe {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            from: None,
            head: String::new(),
            body: String::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn from(mut self, other: &str) -> Self {
        self.from = Some(other.to_owned());
        self
    }

    /// Tables such as `[vars]`.
    pub(crate) fn with(mut self, toml: &str) -> Self {
        self.head.push_str(toml);
        self.head.push('\n');
        self
    }

    /// A step, check or test as TOML, without its heading.
    pub(crate) fn step(self, toml: &str) -> Self {
        self.entry("step", toml)
    }

    /// A step that runs these commands.
    pub(crate) fn shell(self, name: &str, run: &str) -> Self {
        self.step(&format!("name = '{name}'\nshell = {{ run = '''{run}''' }}"))
    }

    pub(crate) fn check(self, toml: &str) -> Self {
        self.entry("check", toml)
    }

    pub(crate) fn test(self, toml: &str) -> Self {
        self.entry("test", toml)
    }

    fn entry(mut self, kind: &str, toml: &str) -> Self {
        self.body.push_str(&format!("\n[[{kind}]]\n{toml}\n"));
        self
    }

    pub(crate) fn toml(&self) -> String {
        let from = match &self.from {
            Some(from) => format!("from = '{from}'\n"),
            None => "\n[source]\nssm = '/aws/service/debian/release/12/latest/amd64'\n".to_owned(),
        };
        format!(
            "schema = 1\n\n[image]\nname = '{}'\n{from}\n{}{}",
            self.name, self.head, self.body
        )
    }
}
