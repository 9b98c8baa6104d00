//! Variables: every one gets its value, its type and its origin.
//!
//! Where a value may come from, a later one winning over an earlier one: the
//! default (recipe over `forno.toml`), `from`, `FORNO_VAR_name`, var files,
//! `--var`. Only defaults are templates; what comes from outside is taken as
//! it is, so that no value can reach for another one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::diagnostic::{Diagnostics, Problem, Span};
use crate::model::{VarDefault, VarEntry, VarSpec, VarType};
use crate::node::{Entry, Kind, Node, Role, parse};
use crate::project::{Inputs, Unset};
use crate::recipe::{Var, VarOrigin, VarValue};
use crate::shape::{self, Templating};
use crate::suggest::closest;
use crate::template::{Context, is_template};
use crate::walk::{Walk, template_problem};

/// What the variables became.
pub(crate) struct Resolved {
    pub(crate) vars: BTreeMap<String, Var>,
    pub(crate) context: Context,
}

/// Values of var files, parsed; with the problems of reading them.
pub(crate) struct VarFiles {
    /// The last file comes first.
    values: Vec<(PathBuf, Node)>,
}

impl VarFiles {
    pub(crate) fn read(inputs: &Inputs, diagnostics: &mut Diagnostics) -> Self {
        let mut values = Vec::new();
        for path in inputs.var_files.iter().rev() {
            let shown = path.display().to_string();
            match fs_err::read_to_string(path) {
                Ok(text) => match parse(path.clone(), shown, text, Role::Values) {
                    Ok(node) => values.push((path.clone(), node)),
                    Err(problems) => diagnostics.extend(problems),
                },
                Err(error) => diagnostics.push(Problem::new(format!(
                    "cannot read the var file `{shown}`: {}",
                    reason(&error)
                ))),
            }
        }
        Self { values }
    }

    fn find(&self, name: &str) -> Option<(&Path, &Node)> {
        self.values
            .iter()
            .find_map(|(path, node)| Some((path.as_path(), node.get(name)?)))
    }

    /// Every name that a var file or `--var` gives must be declared somewhere.
    pub(crate) fn refuse_unknown(
        &self,
        inputs: &Inputs,
        declared: &BTreeSet<String>,
        diagnostics: &mut Diagnostics,
    ) {
        let unknown = |name: &str, place: Option<&Entry>| {
            let mut problem = Problem::new(format!("there is no variable `{name}`"));
            problem = match place {
                Some(entry) => problem
                    .at(entry.key_span.clone())
                    .label("declared by no recipe"),
                None => problem.help(format!(
                    "`--var {name}=…` was given, but no recipe declares it"
                )),
            };
            match closest(name, declared.iter().map(String::as_str)) {
                Some(close) => problem.help(format!("did you mean `{close}`?")),
                None => problem,
            }
        };
        for (name, _) in &inputs.vars {
            if !declared.contains(name) {
                diagnostics.push(unknown(name, None));
            }
        }
        for entry in self.values.iter().flat_map(|(_, node)| node.entries()) {
            if !declared.contains(&entry.key) {
                diagnostics.push(unknown(&entry.key, Some(entry)));
            }
        }
    }
}

/// A variable on its way to a value.
struct Pending<'a> {
    entry: &'a Entry,
    state: State,
}

enum State {
    /// A default that is a template, not looked at yet.
    Template(String),
    /// Being filled in: met again, it is a circle.
    Busy,
    Done(Option<Var>),
}

/// Resolves the table `vars` of a recipe.
pub(crate) fn resolve(
    table: Option<&Node>,
    image: &str,
    inputs: &Inputs,
    files: &VarFiles,
    diagnostics: &mut Diagnostics,
) -> Resolved {
    let mut pending: BTreeMap<String, Pending<'_>> = BTreeMap::new();
    let mut context = Context::new(image, []);
    for entry in table.map(Node::entries).unwrap_or_default() {
        if !is_name(&entry.key) {
            diagnostics.push(
                Problem::new(format!("`{}` cannot be the name of a variable", entry.key))
                    .at(entry.key_span.clone())
                    .label("not a name")
                    .help("letters, digits and `_`, not beginning with a digit"),
            );
            continue;
        }
        let Some(spec) = read_spec(entry, diagnostics) else {
            context.declare(&entry.key, true);
            continue;
        };
        context.declare(&entry.key, spec.secret);
        let state = first_state(entry, &spec, inputs, files, diagnostics);
        pending.insert(entry.key.clone(), Pending { entry, state });
    }
    let names: Vec<String> = pending.keys().cloned().collect();
    for name in &names {
        fill_in(
            name,
            &mut pending,
            &mut context,
            &mut Vec::new(),
            diagnostics,
        );
    }
    for (name, pending) in &pending {
        if let State::Done(Some(var)) = &pending.state {
            refuse_short(name, pending.entry, &var.value, diagnostics);
        }
    }
    let vars = pending
        .into_iter()
        .filter_map(|(name, pending)| match pending.state {
            State::Done(Some(var)) => Some((name, var)),
            _ => None,
        })
        .collect();
    Resolved { vars, context }
}

/// Fewer characters than this stand in innocent output by chance: masked there,
/// they would be told, and on a disk they would be found everywhere.
pub const SHORTEST_SECRET: usize = 8;

fn refuse_short(name: &str, entry: &Entry, value: &VarValue, diagnostics: &mut Diagnostics) {
    let VarValue::Secret(secret) = value else {
        return;
    };
    if secret.expose_secret().trim().chars().count() < SHORTEST_SECRET {
        diagnostics.push(
            Problem::new(format!(
                "the secret `{name}` has fewer than {SHORTEST_SECRET} characters"
            ))
            .at(entry.key_span.clone())
            .label("cannot be kept out of output")
            .help(
                "so short a text stands in innocent output too, and masking it there would give it away: \
                 use a longer one, or no `secret = true` where it is none",
            ),
        );
    }
}

/// Can be written after `vars.` in a template.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn read_spec(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<VarSpec> {
    let path = format!("vars.{}", entry.key);
    let mut walk = Walk::new(None);
    let json = match &entry.value.kind {
        // Taken as it is; it is filled in later, when the others are known.
        Kind::String(text) => Some(text.as_str().into()),
        _ => walk.value(&entry.value, &shape::VAR, Templating::Never, &path),
    };
    let complete = !walk.is_incomplete(&entry.value);
    diagnostics.extend(walk.diagnostics);
    let parsed: VarEntry = serde_json::from_value(json.filter(|_| complete)?).ok()?;
    let spec = match parsed {
        VarEntry::Bool(value) => default_spec(VarDefault::Bool(value)),
        VarEntry::Integer(value) => default_spec(VarDefault::Integer(value)),
        VarEntry::Float(value) => default_spec(VarDefault::Float(value)),
        VarEntry::String(value) => default_spec(VarDefault::String(value)),
        VarEntry::Table(spec) => spec,
    };
    let place = |key: &str| entry.value.place(&[key]);
    let mut bad = |problem: Problem| diagnostics.push(problem);
    if spec.secret && spec.default.is_some() {
        bad(Problem::new(format!(
            "the secret `{}` has its value in the recipe",
            entry.key
        ))
        .at(entry.value.key_place("default"))
        .label("anyone who reads the recipe knows it")
        .help("take it from outside: `from = \"env:NAME\"`, a var file or `--var`"));
        return None;
    }
    if spec.secret && spec.r#type.is_some_and(|kind| kind != VarType::String) {
        bad(Problem::new("a secret is always a string")
            .at(place("type"))
            .label("cannot be another type"));
        return None;
    }
    if let Some(default) = &spec.default
        && let Some(kind) = spec.r#type
        && !matches!(
            (default, kind),
            (VarDefault::Bool(_), VarType::Bool)
                | (VarDefault::Integer(_), VarType::Integer | VarType::Float)
                | (VarDefault::Float(_), VarType::Float)
                | (VarDefault::String(_), VarType::String)
        )
    {
        bad(
            Problem::new(format!("the default of `{}` is not of its type", entry.key))
                .at(place("default"))
                .label(format!("expected {}", article(kind))),
        );
        return None;
    }
    Some(spec)
}

fn default_spec(default: VarDefault) -> VarSpec {
    VarSpec {
        default: Some(default),
        ..VarSpec::default()
    }
}

impl VarSpec {
    fn kind(&self) -> VarType {
        self.r#type.unwrap_or(match self.default {
            Some(VarDefault::Bool(_)) => VarType::Bool,
            Some(VarDefault::Integer(_)) => VarType::Integer,
            Some(VarDefault::Float(_)) => VarType::Float,
            Some(VarDefault::String(_)) | None => VarType::String,
        })
    }
}

fn first_state(
    entry: &Entry,
    spec: &VarSpec,
    inputs: &Inputs,
    files: &VarFiles,
    diagnostics: &mut Diagnostics,
) -> State {
    let name = &entry.key;
    let done =
        |value: Option<VarValue>, origin| State::Done(value.map(|value| Var { value, origin }));
    if let Some((_, text)) = inputs.vars.iter().rev().find(|(given, _)| given == name) {
        let problem = |message| Problem::new(message).help(format!("given by `--var {name}=…`"));
        let value = from_text(name, text, spec, problem, diagnostics);
        return done(value, VarOrigin::CommandLine);
    }
    if let Some((path, node)) = files.find(name) {
        let value = from_node(name, node, spec, diagnostics);
        return done(value, VarOrigin::VarFile(path.to_owned()));
    }
    let forced = format!("FORNO_VAR_{name}");
    if let Some(text) = inputs.env.get(&forced) {
        let problem = |message| Problem::new(message).help(format!("given by `{forced}`"));
        let value = from_text(name, text, spec, problem, diagnostics);
        return done(value, VarOrigin::ForcedEnvironment);
    }
    if spec.from.is_some() {
        match from_outside(entry, spec, inputs, diagnostics) {
            Outside::Value(value, origin) => return done(value, origin),
            Outside::Absent => {}
        }
    }
    match &spec.default {
        Some(VarDefault::String(text)) if is_template(text) => State::Template(text.clone()),
        Some(default) => done(Some(literal(default, spec.kind())), VarOrigin::Default),
        None if inputs.unset == Unset::StandIn => {
            done(Some(stand_in(name, spec)), VarOrigin::StandIn)
        }
        None => {
            diagnostics.push(no_value(entry, spec));
            State::Done(None)
        }
    }
}

enum Outside {
    /// `None`: there is one and it is unusable, which was told.
    Value(Option<VarValue>, VarOrigin),
    Absent,
}

fn from_outside(
    entry: &Entry,
    spec: &VarSpec,
    inputs: &Inputs,
    diagnostics: &mut Diagnostics,
) -> Outside {
    let from = spec.from.as_deref().unwrap_or_default();
    let span = entry.value.place(&["from"]);
    match from.split_once(':') {
        Some(("env", variable)) if !variable.is_empty() => match inputs.env.get(variable) {
            Some(text) => {
                let problem = |message| Problem::new(message).at(span.clone());
                let value = from_text(&entry.key, text, spec, problem, diagnostics);
                Outside::Value(value, VarOrigin::Environment(variable.to_owned()))
            }
            None => Outside::Absent,
        },
        Some(("file", path)) if !path.is_empty() => {
            let folder = span.source.path.parent().unwrap_or(Path::new(""));
            match fs_err::read_to_string(folder.join(path)) {
                Ok(text) => {
                    let text = text.trim_end_matches(['\n', '\r']);
                    let problem = |message| Problem::new(message).at(span.clone());
                    let value = from_text(&entry.key, text, spec, problem, diagnostics);
                    Outside::Value(value, VarOrigin::File(path.to_owned()))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Outside::Absent,
                Err(error) => {
                    diagnostics.push(
                        Problem::new(format!("cannot read `{path}`: {}", reason(&error)))
                            .at(span)
                            .label("the value is read from there"),
                    );
                    Outside::Value(None, VarOrigin::File(path.to_owned()))
                }
            }
        }
        Some((scheme @ ("ssm" | "secretsmanager"), _)) => {
            diagnostics.push(
                Problem::new(format!("values from `{scheme}:` are not available yet"))
                    .at(span)
                    .label("cannot be read")
                    .help("use `env:NAME` or `file:PATH`, and let what starts forno fetch it"),
            );
            Outside::Value(None, VarOrigin::StandIn)
        }
        _ => {
            diagnostics.push(
                Problem::new("this is not a place to read a value from")
                    .at(span)
                    .label("not understood")
                    .help("write `env:NAME` or `file:PATH`"),
            );
            Outside::Value(None, VarOrigin::StandIn)
        }
    }
}

fn no_value(entry: &Entry, spec: &VarSpec) -> Problem {
    let name = &entry.key;
    let problem = Problem::new(format!("the variable `{name}` has no value"));
    let give = format!("give one with `--var {name}=…`, a var file or `FORNO_VAR_{name}`");
    match spec.from.as_deref().and_then(|from| from.split_once(':')) {
        Some(("env", variable)) => problem
            .at(entry.value.place(&["from"]))
            .label(format!("the environment has no `{variable}`"))
            .help(give),
        Some((_, path)) => problem
            .at(entry.value.place(&["from"]))
            .label(format!("there is no file `{path}`"))
            .help(give),
        None => problem
            .at(entry.key_span.clone())
            .label("neither default nor `from`")
            .help(give),
    }
}

/// From a text that came from outside. `problem` says where from.
fn from_text(
    name: &str,
    text: &str,
    spec: &VarSpec,
    problem: impl Fn(String) -> Problem,
    diagnostics: &mut Diagnostics,
) -> Option<VarValue> {
    if spec.secret {
        if text.is_empty() {
            diagnostics.push(problem(format!("the secret `{name}` is empty")));
            return None;
        }
        return Some(VarValue::Secret(SecretString::from(text)));
    }
    let kind = spec.kind();
    let value = match kind {
        VarType::String => Some(VarValue::Text(text.to_owned())),
        VarType::Integer => text.parse().ok().map(VarValue::Integer),
        VarType::Float => text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(VarValue::Float),
        VarType::Bool => text.parse().ok().map(VarValue::Bool),
    };
    if value.is_none() {
        diagnostics.push(problem(format!(
            "`{text}` cannot be the value of `{name}`: expected {}",
            article(kind)
        )));
    }
    value
}

fn from_node(
    name: &str,
    node: &Node,
    spec: &VarSpec,
    diagnostics: &mut Diagnostics,
) -> Option<VarValue> {
    let value = match (&node.kind, spec.kind()) {
        (Kind::String(text), VarType::String) if spec.secret && text.is_empty() => None,
        (Kind::String(text), VarType::String) if spec.secret => {
            Some(VarValue::Secret(SecretString::from(text.as_str())))
        }
        (Kind::String(text), VarType::String) => Some(VarValue::Text(text.clone())),
        (Kind::Integer(number), VarType::Integer) => Some(VarValue::Integer(*number)),
        (Kind::Float(number), VarType::Float) => Some(VarValue::Float(*number)),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a whole number where a float is wanted"
        )]
        (Kind::Integer(number), VarType::Float) => Some(VarValue::Float(*number as f64)),
        (Kind::Bool(value), VarType::Bool) => Some(VarValue::Bool(*value)),
        _ => None,
    };
    if value.is_none() {
        let expected = if spec.secret {
            "a string that is not empty"
        } else {
            article(spec.kind())
        };
        diagnostics.push(
            Problem::new(format!(
                "`{name}` must be {expected}, not {}",
                node.describe()
            ))
            .at(node.span.clone())
            .label(format!("expected {expected}")),
        );
    }
    value
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a whole number where a float is wanted"
)]
fn literal(default: &VarDefault, kind: VarType) -> VarValue {
    match default {
        VarDefault::Bool(value) => VarValue::Bool(*value),
        VarDefault::Integer(number) if kind == VarType::Float => VarValue::Float(*number as f64),
        VarDefault::Integer(number) => VarValue::Integer(*number),
        VarDefault::Float(number) => VarValue::Float(*number),
        VarDefault::String(text) => VarValue::Text(text.clone()),
    }
}

fn stand_in(name: &str, spec: &VarSpec) -> VarValue {
    if spec.secret {
        return VarValue::Secret(SecretString::from(format!("stand-in-for-{name}")));
    }
    match spec.kind() {
        VarType::String => VarValue::Text(format!("stand-in-for-{name}")),
        VarType::Integer => VarValue::Integer(0),
        VarType::Float => VarValue::Float(0.0),
        VarType::Bool => VarValue::Bool(false),
    }
}

/// Fills in a default after those that it uses. `path` is the way here, for
/// naming a circle.
fn fill_in(
    name: &str,
    pending: &mut BTreeMap<String, Pending<'_>>,
    context: &mut Context,
    path: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) {
    let Some(var) = pending.get_mut(name) else {
        return;
    };
    let text = match std::mem::replace(&mut var.state, State::Busy) {
        State::Template(text) => text,
        State::Busy => {
            let start = path.iter().position(|step| step == name).unwrap_or(0);
            let circle = [&path[start..], &[name.to_owned()]].concat().join(" -> ");
            diagnostics.push(
                Problem::new(format!("variables use one another in a circle: {circle}"))
                    .at(default_place(var.entry))
                    .label("needs its own value"),
            );
            var.state = State::Done(None);
            return;
        }
        State::Done(value) => {
            if let Some(value) = &value {
                context.set(name, &value.value);
            }
            var.state = State::Done(value);
            return;
        }
    };
    path.push(name.to_owned());
    let uses = Context::vars_used(&text).unwrap_or_else(|| pending.keys().cloned().collect());
    for other in &uses {
        fill_in(other, pending, context, path, diagnostics);
    }
    path.pop();
    let Some(var) = pending.get_mut(name) else {
        return;
    };
    if matches!(var.state, State::Done(_)) {
        // Part of a circle, which was told.
        return;
    }
    let place = default_place(var.entry);
    let value = match context.render(&text) {
        Ok(rendered) if rendered.secret => Some(VarValue::Secret(rendered.value.into())),
        Ok(rendered) => Some(VarValue::Text(rendered.value)),
        Err(problems) => {
            for problem in problems {
                diagnostics.push(template_problem(&place, &text, problem));
            }
            None
        }
    };
    if let Some(value) = &value {
        context.set(name, value);
    }
    if let Some(var) = pending.get_mut(name) {
        var.state = State::Done(value.map(|value| Var {
            value,
            origin: VarOrigin::Default,
        }));
    }
}

fn default_place(entry: &Entry) -> Span {
    entry.value.place(&["default"])
}

const fn article(kind: VarType) -> &'static str {
    match kind {
        VarType::String => "a string",
        VarType::Integer => "an integer",
        VarType::Float => "a number",
        VarType::Bool => "`true` or `false`",
    }
}

/// The bare reason of an I/O error; the path is said elsewhere.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a folder".into(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        kind => kind.to_string(),
    }
}
