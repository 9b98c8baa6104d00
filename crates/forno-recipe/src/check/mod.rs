//! From files to a checked recipe: reads, merges, fills in, and checks what a
//! single table cannot know.
//!
//! Order: syntax (alone: after a syntax error nothing else can be trusted),
//! variables, shape, meaning. The last three tell everything they find.

mod assertion;
mod builder;
mod disk;
mod files;
mod image;
mod machine;
mod network;
mod profile;
mod publish;
mod role;
mod seal;
mod step;
mod way;

pub use builder::MOST_USER_DATA;
pub(crate) use role::check as check_roles;

use crate::diagnostic::{Diagnostics, Problem, Span};
use crate::model::RecipeFile;
use crate::node::Node;
use crate::project::{Inputs, Project, RecipeEntry};
use crate::recipe::{LeftOut, Recipe};
use crate::shape::{self, Templating};
use crate::template::Context;
use crate::text::Condition;
use crate::vars::{self, VarFiles};
use crate::walk::{Walk, at_table};

/// What the checks of all tables share.
pub(crate) struct Checks<'a> {
    project: &'a Project,
    entry: &'a RecipeEntry,
    root: &'a Node,
    context: &'a Context,
    walk: Walk<'a>,
    left_out: Vec<LeftOut>,
}

impl Checks<'_> {
    fn bad(&mut self, problem: Problem) {
        self.walk.diagnostics.push(problem);
    }

    /// Whether an entry counts; told once all else of it is checked.
    fn counts(&mut self, list: &'static str, name: &str, when: Condition) -> Option<()> {
        if when.0 {
            return Some(());
        }
        let name = name.to_owned();
        self.left_out.push(LeftOut { list, name });
        None
    }

    /// A problem at a value, with a label.
    fn bad_at(&mut self, span: Span, message: impl Into<String>, label: impl Into<String>) {
        self.bad(Problem::new(message).at(span).label(label));
    }

    /// Something that a table lacks; not told where a problem of the table's
    /// own may be the reason.
    fn lacks(&mut self, node: &Node, problem: Problem) {
        if !self.walk.is_incomplete(node) {
            self.bad(at_table(problem, node));
        }
    }
}

/// Reads and checks the recipe of an entry.
pub(crate) fn recipe(
    project: &Project,
    entry: &RecipeEntry,
    inputs: &Inputs,
) -> Result<Recipe, Diagnostics> {
    let mut root = project.parse(&entry.path)?;
    if let Some(defaults) = &project.defaults {
        lay_over(&mut root, defaults);
    }
    let mut diagnostics = Diagnostics::default();
    let files = VarFiles::read(inputs, &mut diagnostics);
    let mut declared = project.declared.clone();
    let vars_table = root.get("vars");
    declared.extend(
        vars_table
            .into_iter()
            .flat_map(Node::entries)
            .map(|entry| entry.key.clone()),
    );
    files.refuse_unknown(inputs, &declared, &mut diagnostics);
    let resolved = vars::resolve(vars_table, &entry.name, inputs, &files, &mut diagnostics);

    let mut walk = Walk::new(Some(&resolved.context));
    let json = walk.value(&root, &shape::RECIPE, Templating::Filled, "");
    let file: RecipeFile = json
        .and_then(|json| match serde_json::from_value(json) {
            Ok(file) => Some(file),
            Err(error) => {
                // The shape let something through that the types refuse.
                diagnostics.push(Problem::new(format!("cannot read this recipe: {error}")));
                None
            }
        })
        .unwrap_or_default();
    let mut checks = Checks {
        project,
        entry,
        root: &root,
        context: &resolved.context,
        walk,
        left_out: Vec::new(),
    };
    let image = image::check(&mut checks, file.image, file.source);
    let architecture = image.as_ref().map(|image| image.architecture);
    let builder = builder::check(&mut checks, file.builder, architecture.unwrap_or_default());
    if let Some(disk) = image.as_ref().and_then(|image| image.disk.as_ref()) {
        disk::check_image_disk(&mut checks, disk, &builder);
    }
    if let Some(image) = &image {
        image::check_market(&mut checks, image, &builder);
    }
    let prove = builder::check_prove(&mut checks, file.prove, &builder);
    let publish = publish::check(&mut checks, file.publish.unwrap_or_default(), &builder);
    let steps = step::check(&mut checks, "step", file.step);
    let on_failure = step::check(&mut checks, "on_failure", file.on_failure);
    let checked = assertion::check(&mut checks, file.check);
    let seal = seal::check(&mut checks, file.seal);
    let tests = assertion::check_tests(&mut checks, file.test);
    diagnostics.extend(checks.walk.diagnostics);
    let Some(image) = image.filter(|_| diagnostics.is_empty()) else {
        return Err(diagnostics.sorted_or("the recipe has no usable `[image]`"));
    };
    Ok(Recipe {
        name: image.name,
        file: entry.path.clone(),
        description: image.description,
        ami_name: image.ami_name,
        architecture: image.architecture,
        tags: image.tags,
        snapshot_tags: image.snapshot_tags,
        disk: image.disk,
        register: image.register,
        source: image.source,
        vars: resolved.vars,
        builder,
        steps,
        checks: checked,
        seal,
        prove,
        tests,
        on_failure,
        publish,
        left_out: checks.left_out,
        digest_key: inputs.digest_key.clone(),
    })
}

/// Puts `forno.toml` beneath a recipe.
fn lay_over(root: &mut Node, defaults: &Node) {
    for (key, depth) in [("vars", 0), ("builder", 1)] {
        if let Some(under) = defaults.get(key)
            && let Some(own) = root.table_mut(key)
        {
            own.lay_over(under, depth);
        }
    }
    if root.get("image").is_some()
        && let Some(under) = defaults.get("tags")
        && let Some(tags) = root
            .table_mut("image")
            .and_then(|image| image.table_mut("tags"))
    {
        tags.lay_over(under, 0);
    }
}
