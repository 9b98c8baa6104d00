//! Holds a file against its [`Shape`] and fills in its templates on the way.
//!
//! Every problem is told, none stops the walk: what is wrong is left out of
//! the result, so that what is right can still be checked for its meaning.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostics, Problem, Span};
use crate::node::{Kind, Node};
use crate::shape::{KeyShape, Shape, StringKind, StringShape, TableShape, Templating};
use crate::suggest::closest;
use crate::template::{Context, TemplateProblem, is_template};
use crate::text::Text;
use crate::units::{Mode, Period, Size};

/// A walk over one tree.
pub(crate) struct Walk<'a> {
    /// What the file is, for messages about its outermost keys.
    what: &'static str,
    /// `None`: nothing is filled in, what depends on it is left unchecked.
    context: Option<&'a Context>,
    pub(crate) diagnostics: Diagnostics,
    /// Tables from which something was left out.
    incomplete: HashSet<*const Node>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(context: Option<&'a Context>) -> Self {
        Self {
            what: "a recipe",
            context,
            diagnostics: Diagnostics::default(),
            incomplete: HashSet::new(),
        }
    }

    /// For another file than a recipe.
    pub(crate) fn of(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }

    /// Whether something in this table was wrong, so that complaints about
    /// what it lacks would only repeat it.
    pub(crate) fn is_incomplete(&self, node: &Node) -> bool {
        self.incomplete.contains(&std::ptr::from_ref(node))
    }

    /// The value as JSON for serde; `None` when it is unusable (and told).
    pub(crate) fn value(
        &mut self,
        node: &Node,
        shape: &Shape,
        templating: Templating,
        path: &str,
    ) -> Option<Json> {
        match (shape, &node.kind) {
            (Shape::Table(table), Kind::Table(_)) => self.table(node, table, templating, path),
            (Shape::Map(items), Kind::Table(entries)) => {
                let mut map = Map::new();
                for entry in entries {
                    let path = join(path, &entry.key);
                    match self.value(&entry.value, items, templating, &path) {
                        Some(value) => drop(map.insert(entry.key.clone(), value)),
                        None => self.mark_incomplete(node),
                    }
                }
                Some(map.into())
            }
            (Shape::List(items), Kind::List(nodes)) => {
                let tables = matches!(**items, Shape::Table(_));
                let values: Vec<Option<Json>> = nodes
                    .iter()
                    .map(|item| self.value(item, items, templating, path))
                    .collect();
                if tables {
                    // Its place is kept, so that the others keep theirs.
                    Some(values.into_iter().map(Option::unwrap_or_default).collect())
                } else {
                    values.into_iter().collect::<Option<Json>>()
                }
            }
            (Shape::String(shape), Kind::String(text)) => {
                self.string(node, text, shape, templating)
            }
            (Shape::Integer { min, max }, Kind::Integer(number)) => {
                if (*min..=*max).contains(number) {
                    return Some((*number).into());
                }
                let label = match (*min, *max) {
                    (min, max) if min == max => format!("must be {min}"),
                    (min, i64::MAX) => format!("must be {min} or more"),
                    (min, max) => format!("must be between {min} and {max}"),
                };
                self.diagnostics.push(
                    Problem::new(format!("`{path}` cannot be {number}"))
                        .at(node.span.clone())
                        .label(label),
                );
                None
            }
            (Shape::Float, Kind::Float(number)) => Some((*number).into()),
            (Shape::Float, Kind::Integer(number)) => Some((*number).into()),
            (Shape::Bool | Shape::Condition, Kind::Bool(value)) => Some((*value).into()),
            (Shape::Condition, Kind::String(text)) => self.condition(node, text, path),
            (Shape::Any, _) => self.any(node, templating, path),
            (Shape::Either(shapes), _) => match shapes.iter().find(|shape| fits(shape, node)) {
                Some(shape) => self.value(node, shape, templating, path),
                None => self.wrong_type(node, shape, path),
            },
            _ => self.wrong_type(node, shape, path),
        }
    }

    fn table(
        &mut self,
        node: &Node,
        shape: &TableShape,
        templating: Templating,
        path: &str,
    ) -> Option<Json> {
        let variant = self.variant(node, shape, path)?;
        let keys: Vec<&KeyShape> = shape.keys.iter().chain(variant).collect();
        let mut map = Map::new();
        let mut usable = true;
        for entry in node.entries() {
            let Some(key) = keys.iter().find(|key| key.name == entry.key) else {
                self.unknown_key(node, &entry.key, shape, &keys, path);
                self.mark_incomplete(node);
                continue;
            };
            let below = match (templating, key.templating) {
                (Templating::Never, _) => Templating::Never,
                (_, Templating::Elsewhere) => continue,
                (_, Templating::UnlessFalse) => match node.get("template").map(|node| &node.kind) {
                    Some(Kind::Bool(false)) => Templating::Never,
                    _ => Templating::Filled,
                },
                (_, own) => own,
            };
            let path = join(path, &entry.key);
            if let Some(value) = self.value(&entry.value, &key.shape, below, &path) {
                map.insert(entry.key.clone(), value);
            } else {
                self.mark_incomplete(node);
                usable &= !key.required;
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            if node.get(&key.name).is_none() {
                if !self.is_incomplete(node) {
                    let problem = Problem::new(format!("`{}` is missing", join(path, &key.name)));
                    self.diagnostics.push(at_table(problem, node));
                }
                self.mark_incomplete(node);
                usable = false;
            }
        }
        // A whole recipe is never unusable: its other tables can be checked.
        (usable || path.is_empty()).then(|| map.into())
    }

    /// The keys of the one variant that the table has; nothing for a table without variants.
    fn variant<'s>(
        &mut self,
        node: &Node,
        shape: &'s TableShape,
        path: &str,
    ) -> Option<&'s [KeyShape]> {
        if shape.variants.is_empty() {
            return Some(&[]);
        }
        let tags = || shape.variants.iter().filter_map(|keys| keys.first());
        let present: Vec<&str> = node
            .entries()
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|key| tags().any(|tag| tag.name == *key))
            .collect();
        match present[..] {
            [one] => shape
                .variants
                .iter()
                .find(|keys| keys.first().is_some_and(|tag| tag.name == one))
                .map(Vec::as_slice),
            [] => {
                let names = list(tags().map(|tag| tag.name.as_str()), "or");
                let slip = node.entries().iter().find_map(|entry| {
                    let known = shape.keys.iter().any(|key| key.name == entry.key);
                    let close = closest(&entry.key, tags().map(|tag| tag.name.as_str()))?;
                    (!known).then_some((entry, close))
                });
                let problem = Problem::new(format!("a `{path}` needs one of {names}"));
                self.diagnostics.push(match slip {
                    Some((entry, close)) => problem
                        .at(entry.key_span.clone())
                        .label("unknown key")
                        .help(format!("did you mean `{close}`?")),
                    None => at_table(problem, node),
                });
                None
            }
            [first, second, ..] => {
                self.diagnostics.push(
                    Problem::new(format!("a `{path}` is one thing, this one is several"))
                        .at(node.key_place(second))
                        .label(format!("`{second}` is a second one"))
                        .related(node.key_place(first), format!("`{first}` is the first"))
                        .help(format!("write a `[[{path}]]` for each")),
                );
                None
            }
        }
    }

    fn unknown_key(
        &mut self,
        node: &Node,
        name: &str,
        shape: &TableShape,
        keys: &[&KeyShape],
        path: &str,
    ) {
        let place = if path.is_empty() {
            self.what.to_owned()
        } else {
            format!("`{path}`")
        };
        let mut problem = Problem::new(format!("unknown key `{name}` in {place}"))
            .at(node.key_place(name))
            .label("not known here");
        let names = || keys.iter().map(|key| key.name.as_str());
        let elsewhere = shape
            .variants
            .iter()
            .find(|variant| variant.iter().any(|key| key.name == name))
            .and_then(|variant| variant.first());
        if let Some(close) = closest(name, names()) {
            problem = problem.help(format!("did you mean `{close}`?"));
        } else if let Some(tag) = elsewhere {
            problem = problem.help(format!("`{name}` goes with `{}`", tag.name));
        } else {
            problem = problem.help(format!("keys of {place}: {}", list(names(), "and")));
        }
        self.diagnostics.push(problem);
    }

    /// What a template says of whether something counts.
    fn condition(&mut self, node: &Node, text: &str, path: &str) -> Option<Json> {
        // Not filled in yet: whatever depends on the value must wait.
        let context = self.context?;
        let rendered = self.told(node, text, context.render_any(text))?;
        if rendered.secret {
            self.secret_used(node);
            return None;
        }
        if rendered.value.is_boolean() {
            return Some(rendered.value);
        }
        self.diagnostics.push(
            Problem::new(format!("`{path}` must come to true or false"))
                .at(node.span.clone())
                .label(format!("comes to {}", rendered.value))
                .help("compare, as in `when = \"{{ vars.stage == 'production' }}\"`"),
        );
        None
    }

    fn secret_used(&mut self, node: &Node) {
        self.diagnostics.push(
            Problem::new("a secret cannot be used here")
                .at(node.span.clone())
                .label("uses a secret variable")
                .help("secrets may be used in commands, environments, file contents and Ansible variables"),
        );
    }

    fn string(
        &mut self,
        node: &Node,
        text: &str,
        shape: &StringShape,
        templating: Templating,
    ) -> Option<Json> {
        let filled = match self.context {
            Some(context) if templating != Templating::Never => {
                if shape.kind == StringKind::Late {
                    let values = self.told(node, text, context.try_late(text))?;
                    return Some(crate::text::Late::new(text.to_owned(), values).to_json());
                }
                let rendered = self.told(node, text, context.render(text))?;
                match (rendered.secret, shape.kind) {
                    (false, _) => rendered.value,
                    (true, StringKind::Text) => {
                        return Some(Text::secret(rendered.value, text).to_json());
                    }
                    (true, _) => {
                        self.secret_used(node);
                        return None;
                    }
                }
            }
            // Not filled in yet: whatever depends on the value must wait.
            None if is_template(text) || shape.kind == StringKind::Late => {
                return None;
            }
            _ => text.to_owned(),
        };
        if !shape.choices.is_empty() && !shape.choices.contains(&filled) {
            let choices = shape.choices.iter().map(String::as_str);
            let help = match closest(&filled, choices.clone()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("one of {}", list(choices, "and")),
            };
            self.diagnostics.push(
                Problem::new(format!("`{filled}` is not one of the possible values"))
                    .at(node.span.clone())
                    .label("not known here")
                    .help(help),
            );
            return None;
        }
        let checked = match shape.kind {
            StringKind::Time => filled.parse::<Period>().map(drop),
            StringKind::Size => filled.parse::<Size>().map(drop),
            StringKind::Mode => filled.parse::<Mode>().map(drop),
            StringKind::Plain | StringKind::Text | StringKind::Late => Ok(()),
        };
        match checked {
            Ok(()) => Some(filled.into()),
            Err(error) => {
                self.diagnostics.push(
                    Problem::new(error.message)
                        .at(node.span.clone())
                        .help(error.hint),
                );
                None
            }
        }
    }

    fn any(&mut self, node: &Node, templating: Templating, path: &str) -> Option<Json> {
        match &node.kind {
            Kind::Integer(number) => Some((*number).into()),
            Kind::Float(number) => Some((*number).into()),
            Kind::Bool(value) => Some((*value).into()),
            Kind::String(text) => match self.context {
                Some(context) if templating != Templating::Never => self
                    .told(node, text, context.render_any(text))
                    .map(|rendered| rendered.value),
                _ => Some(text.as_str().into()),
            },
            Kind::Datetime => self.wrong_type(node, &Shape::Any, path),
            Kind::List(items) => items
                .iter()
                .map(|item| self.any(item, templating, path))
                .collect(),
            Kind::Table(entries) => entries
                .iter()
                .map(|entry| {
                    let value = self.any(&entry.value, templating, path)?;
                    Some((entry.key.clone(), value))
                })
                .collect::<Option<Map<_, _>>>()
                .map(Json::from),
        }
    }

    /// The result, or `None` after telling what is wrong with the template.
    fn told<T>(
        &mut self,
        node: &Node,
        text: &str,
        result: Result<T, Vec<TemplateProblem>>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                for problem in problems {
                    self.diagnostics
                        .push(template_problem(&node.span, text, problem));
                }
                None
            }
        }
    }

    fn wrong_type(&mut self, node: &Node, shape: &Shape, path: &str) -> Option<Json> {
        let mut problem = Problem::new(format!(
            "`{path}` must be {}, not {}",
            describe(shape),
            node.describe()
        ))
        .at(node.span.clone())
        .label(format!("expected {}", describe(shape)));
        if let (Shape::String(_), Kind::Integer(_) | Kind::Float(_) | Kind::Bool(_)) =
            (shape, &node.kind)
        {
            problem = problem.help(match shape {
                Shape::String(StringShape {
                    kind: StringKind::Time,
                    ..
                }) => "write it in quotes with its unit, such as \"90s\"",
                Shape::String(StringShape {
                    kind: StringKind::Size,
                    ..
                }) => "write it in quotes with its unit, such as \"16GiB\"",
                Shape::String(StringShape {
                    kind: StringKind::Mode,
                    ..
                }) => "write it in quotes, such as \"0644\"",
                _ => "write it in quotes",
            });
        }
        if let (Shape::List(items), Kind::Table(_)) = (shape, &node.kind)
            && matches!(**items, Shape::Table(_))
        {
            problem = problem.help(format!("write `[[{path}]]`, with two brackets"));
        }
        self.diagnostics.push(problem);
        None
    }

    fn mark_incomplete(&mut self, node: &Node) {
        self.incomplete.insert(std::ptr::from_ref(node));
    }
}

/// A problem of a template that stands as a string at `span`: it points to the
/// part in question where the string is written without escapes.
pub(crate) fn template_problem(span: &Span, text: &str, problem: TemplateProblem) -> Problem {
    let written = span.source.text.get(span.range.clone()).unwrap_or("");
    let range = problem.range.and_then(|range| {
        let start = span.range.start + written.find(text)?;
        let (from, to) = (start + range.start, start + range.end);
        (range.end <= text.len() && from < to).then_some(from..to)
    });
    let place = Span {
        source: std::sync::Arc::clone(&span.source),
        range: range.unwrap_or_else(|| span.range.clone()),
    };
    let told = Problem::new(problem.message).at(place).label(problem.label);
    match problem.help {
        Some(help) => told.help(help),
        None => told,
    }
}

/// Points to a table: to its header, or for the whole file to its first line.
pub(crate) fn at_table(problem: Problem, node: &Node) -> Problem {
    let mut span = node.span.clone();
    let text = &span.source.text;
    let line_end = |start: usize| {
        text[start..]
            .find('\n')
            .map_or(text.len(), |end| start + end)
    };
    if span.range.is_empty() {
        span.range = 0..line_end(0);
    } else {
        // A multi-line inline table would bury the message.
        let end = line_end(span.range.start);
        span.range.end = span.range.end.min(end);
    }
    problem.at(span).label("in this table")
}

fn fits(shape: &Shape, node: &Node) -> bool {
    matches!(
        (shape, &node.kind),
        (Shape::String(_), Kind::String(_))
            | (Shape::Integer { .. }, Kind::Integer(_))
            | (Shape::Float, Kind::Float(_))
            | (Shape::Bool, Kind::Bool(_))
            | (Shape::Condition, Kind::Bool(_) | Kind::String(_))
            | (Shape::List(_), Kind::List(_))
            | (Shape::Table(_) | Shape::Map(_), Kind::Table(_))
            | (Shape::Any, _)
    )
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Table(_) | Shape::Map(_) => "a table".into(),
        Shape::List(items) => match **items {
            Shape::String(_) => "a list of strings".into(),
            Shape::Integer { .. } => "a list of integers".into(),
            Shape::Table(_) => "a list of tables".into(),
            _ => "a list".into(),
        },
        Shape::String(shape) => match shape.kind {
            StringKind::Time => "a time such as \"5m\"".into(),
            StringKind::Size => "a size such as \"16GiB\"".into(),
            StringKind::Mode => "a mode such as \"0644\"".into(),
            _ => "a string".into(),
        },
        Shape::Integer { .. } => "an integer".into(),
        Shape::Float => "a number".into(),
        Shape::Bool => "a boolean".into(),
        Shape::Condition => "a boolean or a template".into(),
        Shape::Any => "a value".into(),
        Shape::Either(shapes) => {
            let names: Vec<String> = shapes.iter().map(describe).collect();
            list(names.iter().map(String::as_str), "or").replace('`', "")
        }
    }
}

/// `a`, `b` and `c`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
