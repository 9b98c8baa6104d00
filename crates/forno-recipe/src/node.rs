//! TOML as a tree in which every value knows its place.
//!
//! The tree is what everything else works on: two files merge into one tree
//! (`forno.toml` under a recipe) and every value still points to where it was
//! written.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostics, Problem, SourceText, Span};

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// Without the value: it may be a secret.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.describe(), self.span)
    }
}

#[derive(Clone)]
pub(crate) enum Kind {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Datetime,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// What a file is, which says what of it must not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Recipes and `forno.toml`: only a secret's literal value is hidden.
    Recipe,
    /// Files of values: all of them are hidden.
    Values,
}

/// Parses a file; every problem of its syntax is told.
pub(crate) fn parse(
    path: PathBuf,
    shown: String,
    text: String,
    role: Role,
) -> Result<Node, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        let errors: Vec<(String, Range<usize>)> = errors
            .iter()
            .map(|error| {
                let range = error.span().unwrap_or(0..0);
                let end = range.end.min(text.len());
                (
                    error.message().replace('\n', ", "),
                    range.start.min(end)..end,
                )
            })
            .collect();
        drop(table);
        let source = Arc::new(SourceText::new(path, shown, text));
        for (message, range) in errors {
            diagnostics.push(syntax_problem(&source, &message, range, role));
        }
        return diagnostics
            .into_result(())
            .map(|()| unreachable!("there are errors"));
    }
    let hidden = hidden_ranges(table.get_ref(), role);
    // The tree needs the text's own handle, which owns the text that the
    // parsed table borrows; a second copy of a small file is the simple way out.
    let mut source = SourceText::new(path, shown, text.clone());
    source.hidden = hidden;
    let source = Arc::new(source);
    let root = Node {
        span: Span {
            source: Arc::clone(&source),
            range: 0..0,
        },
        kind: table_kind(table.get_ref(), &source, &mut diagnostics),
    };
    diagnostics.into_result(root)
}

fn syntax_problem(
    source: &Arc<SourceText>,
    message: &str,
    range: Range<usize>,
    role: Role,
) -> Problem {
    let span = Span {
        source: Arc::clone(source),
        range,
    };
    match role {
        Role::Recipe => Problem::new(format!("not TOML: {message}"))
            .at(span)
            .label("here"),
        // Where the syntax is broken nobody knows which part is a secret.
        Role::Values => {
            let (line, column) = span.line_column();
            Problem::new(format!("`{}` is not TOML: {message}", source.shown)).help(format!(
                "look at line {line}, column {column}; the line is not shown, it may hold a secret"
            ))
        }
    }
}

fn hidden_ranges(table: &DeTable<'_>, role: Role) -> Vec<Range<usize>> {
    match role {
        Role::Values => table.iter().map(|(_, value)| value.span()).collect(),
        Role::Recipe => {
            let Some(vars) = table.get("vars").and_then(|vars| vars.get_ref().as_table()) else {
                return Vec::new();
            };
            vars.iter()
                .filter_map(|(_, value)| value.get_ref().as_table())
                .filter(|spec| {
                    // Anything but a clear `false` hides: a slip must not reveal.
                    spec.get("secret")
                        .is_some_and(|secret| secret.get_ref().as_bool() != Some(false))
                })
                .filter_map(|spec| Some(spec.get("default")?.span()))
                .collect()
        }
    }
}

fn table_kind(
    table: &DeTable<'_>,
    source: &Arc<SourceText>,
    diagnostics: &mut Diagnostics,
) -> Kind {
    let span = |range: Range<usize>| Span {
        source: Arc::clone(source),
        range,
    };
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: span(key.span()),
            value: Node {
                span: span(value.span()),
                kind: value_kind(value.get_ref(), &span(value.span()), diagnostics),
            },
        })
        .collect();
    // As written, whatever order the parser's table has.
    entries.sort_by_key(|entry| entry.key_span.range.start);
    Kind::Table(entries)
}

fn value_kind(value: &DeValue<'_>, place: &Span, diagnostics: &mut Diagnostics) -> Kind {
    match value {
        DeValue::String(text) => Kind::String(text.to_string()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            Kind::Integer(number.unwrap_or_else(|_| {
                diagnostics.push(
                    Problem::new("this number is too large")
                        .at(place.clone())
                        .label("does not fit into 64 bits"),
                );
                0
            }))
        }
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Kind::Float(number),
            _ => {
                diagnostics.push(
                    Problem::new("this number is not finite")
                        .at(place.clone())
                        .label("`inf` and `nan` have no use here"),
                );
                Kind::Float(0.0)
            }
        },
        DeValue::Boolean(value) => Kind::Bool(*value),
        DeValue::Datetime(_) => Kind::Datetime,
        DeValue::Array(array) => Kind::List(
            array
                .iter()
                .map(|item| {
                    let span = Span {
                        source: Arc::clone(&place.source),
                        range: item.span(),
                    };
                    Node {
                        kind: value_kind(item.get_ref(), &span, diagnostics),
                        span,
                    }
                })
                .collect(),
        ),
        DeValue::Table(table) => table_kind(table, &place.source, diagnostics),
    }
}

impl Node {
    /// An empty table at the place of `self`.
    pub(crate) fn empty_table(&self) -> Self {
        Self {
            span: self.span.clone(),
            kind: Kind::Table(Vec::new()),
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The place of the value at `path`, or of the nearest table above it that exists.
    pub(crate) fn place(&self, path: &[&str]) -> Span {
        let mut node = self;
        for key in path {
            match node.get(key) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.span.clone()
    }

    /// The place of a key, or of this table when it has none such.
    pub(crate) fn key_place(&self, key: &str) -> Span {
        self.entry(key)
            .map_or_else(|| self.span.clone(), |entry| entry.key_span.clone())
    }

    /// What it is, with its article, for "expected …, found …".
    pub(crate) const fn describe(&self) -> &'static str {
        match self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::Bool(_) => "a boolean",
            Kind::Datetime => "a date",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// Puts `under` beneath: its keys are taken where `self` has none; where
    /// both have tables, these are joined in the same way down to `depth`.
    pub(crate) fn lay_over(&mut self, under: &Self, depth: usize) {
        let Kind::Table(entries) = &mut self.kind else {
            return;
        };
        for entry in under.entries() {
            match entries.iter_mut().find(|own| own.key == entry.key) {
                None => entries.push(entry.clone()),
                Some(own) if depth > 0 => own.value.lay_over(&entry.value, depth - 1),
                Some(_) => {}
            }
        }
    }

    /// The value of `key` for changing; made as an empty table where missing.
    pub(crate) fn table_mut(&mut self, key: &str) -> Option<&mut Self> {
        let empty = self.empty_table();
        let Kind::Table(entries) = &mut self.kind else {
            return None;
        };
        if !entries.iter().any(|entry| entry.key == key) {
            entries.push(Entry {
                key: key.to_owned(),
                key_span: empty.span.clone(),
                value: empty,
            });
        }
        entries
            .iter_mut()
            .find(|entry| entry.key == key)
            .map(|entry| &mut entry.value)
    }
}

impl Span {
    pub(crate) fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.range.start)
    }
}
