//! Templates: minijinja, strict, with what a recipe may use and nothing else.
//!
//! A name that does not exist is a problem even in a branch that is not taken:
//! templates are analysed before they are rendered. The same analysis says
//! which strings hold a secret, whatever filters it went through. Comments are
//! `{## … ##}`, because `{#` is everyday shell (`${#list[@]}`).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};
use secrecy::ExposeSecret;
use serde_json::{Value as Json, json};

use crate::recipe::{Var, VarValue};
use crate::suggest::closest;
use crate::text::{BakeFacts, Text};

/// Names below `bake` and `source`, known only while a bake runs.
const BAKE_NAMES: [&str; 4] = ["id", "short_id", "timestamp", "date"];
const SOURCE_NAMES: [&str; 2] = ["id", "name"];

/// More than any sane template needs; a loop over a billion ends here.
const FUEL: u64 = 1_000_000;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .comment_delimiters("{##", "##}")
        .keep_trailing_newline(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    // It would print every variable, secrets too.
    environment.remove_global("debug");
    environment.add_filter("quote", |text: String| {
        shell_words::quote(&text).into_owned()
    });
    environment
});

/// Whether there is anything to fill in.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{##")
}

/// Which values a template may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those known when the recipe is read.
    Early,
    /// Also those known when the bake runs.
    Late,
}

/// The values of templates.
#[derive(Clone)]
pub(crate) struct Context {
    /// Everything, secrets in clear.
    values: Json,
    /// The same without secrets.
    open_values: Json,
    /// All names that exist, also those without a value.
    vars: BTreeSet<String>,
    secrets: BTreeSet<String>,
    image: String,
}

/// A rendered string.
#[derive(Debug)]
pub(crate) struct Rendered<T> {
    pub(crate) value: T,
    pub(crate) secret: bool,
}

/// What is wrong with a template, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateProblem {
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) range: Option<Range<usize>>,
    pub(crate) help: Option<String>,
}

impl Context {
    pub(crate) fn new<'a>(image: &str, vars: impl IntoIterator<Item = (&'a str, &'a Var)>) -> Self {
        let mut context = Self {
            values: json!({ "vars": {}, "image": { "name": image } }),
            open_values: json!({ "vars": {}, "image": { "name": image } }),
            vars: BTreeSet::new(),
            secrets: BTreeSet::new(),
            image: image.to_owned(),
        };
        for (name, var) in vars {
            context.set(name, &var.value);
        }
        context
    }

    /// Makes a name known that has no value (because of a problem told already).
    pub(crate) fn declare(&mut self, name: &str, secret: bool) {
        self.vars.insert(name.to_owned());
        if secret {
            self.secrets.insert(name.to_owned());
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &VarValue) {
        let json: Json = match value {
            VarValue::Text(text) => text.as_str().into(),
            VarValue::Integer(number) => (*number).into(),
            VarValue::Float(number) => (*number).into(),
            VarValue::Bool(value) => (*value).into(),
            VarValue::Secret(secret) => secret.expose_secret().into(),
        };
        let secret = matches!(value, VarValue::Secret(_));
        self.declare(name, secret);
        if !secret {
            self.open_values["vars"][name] = json.clone();
        }
        self.values["vars"][name] = json;
    }

    /// The variables that a template uses; `None` when it uses `vars` as a whole.
    pub(crate) fn vars_used(text: &str) -> Option<BTreeSet<String>> {
        let Ok(template) = ENVIRONMENT.template_from_str(text) else {
            return Some(BTreeSet::new());
        };
        template
            .undeclared_variables(true)
            .iter()
            .filter_map(|name| match name.split('.').collect::<Vec<_>>()[..] {
                ["vars"] => Some(None),
                ["vars", var, ..] => Some(Some(var.to_owned())),
                _ => None,
            })
            .collect()
    }

    /// Renders to text.
    pub(crate) fn render(&self, text: &str) -> Result<Rendered<String>, Vec<TemplateProblem>> {
        if !is_template(text) {
            return Ok(Rendered {
                value: text.to_owned(),
                secret: false,
            });
        }
        let secret = self.analyse(text, Scope::Early)?;
        let template = ENVIRONMENT
            .template_from_str(text)
            .map_err(|error| vec![explain(&error, secret)])?;
        let value = template
            .render(values_of(&self.values))
            .map_err(|error| vec![explain(&error, secret)])?;
        Ok(Rendered { value, secret })
    }

    /// Renders to any value: a string that is nothing but one `{{ … }}` keeps
    /// the type of its value.
    pub(crate) fn render_any(&self, text: &str) -> Result<Rendered<Json>, Vec<TemplateProblem>> {
        let Some(expression) = sole_expression(text) else {
            return self.render(text).map(|rendered| Rendered {
                value: rendered.value.into(),
                secret: rendered.secret,
            });
        };
        let secret = self.analyse(text, Scope::Early)?;
        let explain_all = |error: minijinja::Error| {
            let mut problem = explain(&error, secret);
            problem.range = None;
            vec![problem]
        };
        let value = ENVIRONMENT
            .compile_expression(expression)
            .map_err(explain_all)?
            .eval(values_of(&self.values))
            .map_err(explain_all)?;
        if value.is_undefined() {
            return Err(vec![TemplateProblem {
                message: format!("`{}` is not defined", expression.trim()),
                label: "has no value".into(),
                range: None,
                help: None,
            }]);
        }
        let value = serde_json::to_value(&value).unwrap_or(Json::Null);
        Ok(Rendered {
            value: mark_secrets(value, secret, text),
            secret,
        })
    }

    /// Tries a late template with specimen values; what is kept for the real
    /// rendering holds no secret.
    pub(crate) fn try_late(&self, text: &str) -> Result<Json, Vec<TemplateProblem>> {
        if self.analyse(text, Scope::Late)? {
            return Err(vec![TemplateProblem {
                message: "a secret cannot be used here".into(),
                label: "uses a secret variable".into(),
                range: None,
                help: Some("names, tags and user data can be read by others; hand the secret to a step instead".into()),
            }]);
        }
        let facts = BakeFacts::specimen(&self.image);
        let template = ENVIRONMENT
            .template_from_str(text)
            .map_err(|error| vec![explain(&error, false)])?;
        template
            .render(values_of(with_facts(&self.open_values, &facts)))
            .map_err(|error| vec![explain(&error, false)])?;
        Ok(self.open_values.clone())
    }

    /// Every unknown name is a problem; otherwise, whether a secret is used.
    fn analyse(&self, text: &str, scope: Scope) -> Result<bool, Vec<TemplateProblem>> {
        let template = ENVIRONMENT
            .template_from_str(text)
            .map_err(|error| vec![explain(&error, false)])?;
        let mut secret = false;
        // A variable without a value has a problem of its own, told already:
        // then an empty list of problems says that nothing can be made here.
        let mut unusable = false;
        let mut problems = Vec::new();
        let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        names.sort();
        for name in names {
            let parts: Vec<&str> = name.split('.').collect();
            let unknown = match parts[..] {
                ["vars"] => {
                    secret |= !self.secrets.is_empty();
                    unusable |= !self.vars.iter().all(|var| self.has_value(var));
                    None
                }
                ["vars", var, ..] => {
                    secret |= self.secrets.contains(var);
                    unusable |= self.vars.contains(var) && !self.has_value(var);
                    (!self.vars.contains(var)).then(|| self.unknown_var(var))
                }
                ["image", ref rest @ ..] => unknown_below("image", rest, &["name"]),
                ["bake", ref rest @ ..] if scope == Scope::Late => {
                    unknown_below("bake", rest, &BAKE_NAMES)
                }
                ["source", ref rest @ ..] if scope == Scope::Late => {
                    unknown_below("source", rest, &SOURCE_NAMES)
                }
                ["bake" | "source", ..] => Some((
                    format!("`{name}` is known only while a bake runs"),
                    "it can be used in `image.ami_name`, `image.description`, tags and `prove.user_data`".to_owned(),
                )),
                _ if ENVIRONMENT.globals().any(|(global, _)| global == parts[0]) => None,
                _ => Some(self.unknown_name(parts[0])),
            };
            if let Some((message, help)) = unknown {
                let written = if parts.len() > 1 {
                    parts[..2].join(".")
                } else {
                    name.clone()
                };
                problems.push(TemplateProblem {
                    message,
                    label: "not defined".into(),
                    range: find_name(text, &written),
                    help: Some(help),
                });
            }
        }
        if problems.is_empty() && !unusable {
            Ok(secret)
        } else {
            Err(problems)
        }
    }

    fn has_value(&self, var: &str) -> bool {
        self.values["vars"].get(var).is_some()
    }

    fn unknown_var(&self, var: &str) -> (String, String) {
        let help = match closest(var, self.vars.iter().map(String::as_str)) {
            Some(close) => format!("did you mean `vars.{close}`?"),
            None => format!("declare it under `[vars]`: `{var} = \"…\"`"),
        };
        (format!("there is no variable `{var}`"), help)
    }

    fn unknown_name(&self, name: &str) -> (String, String) {
        let help = if self.vars.contains(name) {
            format!("variables are written with their table: `vars.{name}`")
        } else {
            "a template can use `vars.NAME` and `image.name`".to_owned()
        };
        (format!("`{name}` is not defined"), help)
    }
}

fn unknown_below(table: &str, rest: &[&str], names: &[&str]) -> Option<(String, String)> {
    let name = rest.first()?;
    if names.contains(name) {
        return None;
    }
    let help = match closest(name, names.iter().copied()) {
        Some(close) => format!("did you mean `{table}.{close}`?"),
        None => format!("`{table}` has: {}", names.join(", ")),
    };
    Some((format!("`{table}.{name}` is not defined"), help))
}

/// The expression of a string that is nothing but one `{{ … }}`.
fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner);
    (!inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%")).then_some(inner)
}

/// The strings of a value made with a secret, each marked as one.
fn mark_secrets(value: Json, secret: bool, shown: &str) -> Json {
    match value {
        Json::String(text) if secret => Text::secret(text, shown).to_json(),
        Json::Array(items) if secret => items
            .into_iter()
            .map(|item| mark_secrets(item, secret, shown))
            .collect(),
        Json::Object(map) if secret => map
            .into_iter()
            .map(|(key, value)| (key, mark_secrets(value, secret, shown)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Where a dotted name stands in a template: as a whole name, inside a tag.
fn find_name(text: &str, name: &str) -> Option<Range<usize>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    text.match_indices(name)
        .map(|(start, _)| start..start + name.len())
        .find(|range| {
            !text[..range.start].ends_with(is_part)
                && !text[range.end..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
                && text[..range.start].contains('{')
        })
}

fn explain(error: &minijinja::Error, secret: bool) -> TemplateProblem {
    // Some details quote values.
    let detail = error.detail().filter(|_| !secret);
    let message = match detail {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    TemplateProblem {
        message: format!("cannot fill in this template: {message}"),
        label: "here".into(),
        range: error.range(),
        help: (error.kind() == minijinja::ErrorKind::SyntaxError).then(|| {
            "to use `{{` or `{%` as they are, write `{% raw %}…{% endraw %}` or set `template = false`".to_owned()
        }),
    }
}

fn with_facts(values: &Json, facts: &BakeFacts) -> Json {
    let mut values = if values.is_object() {
        values.clone()
    } else {
        json!({})
    };
    values["bake"] = json!({
        "id": facts.bake_id,
        "short_id": facts.bake_short_id,
        "timestamp": facts.started.strftime("%Y%m%d-%H%M%S").to_string(),
        "date": facts.started.strftime("%Y-%m-%d").to_string(),
    });
    values["source"] = json!({ "id": facts.source_id, "name": facts.source_name });
    values
}

fn values_of(values: impl serde::Serialize) -> Value {
    Value::from(minijinja::value::Serde(values))
}

/// Renders a template that was tried before, now with the facts of a bake.
pub(crate) fn render_late(
    template: &str,
    values: &Json,
    facts: &BakeFacts,
) -> Result<String, String> {
    ENVIRONMENT
        .template_from_str(template)
        .and_then(|template| template.render(values_of(with_facts(values, facts))))
        .map_err(|error| explain(&error, false).message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::VarOrigin;

    fn context() -> Context {
        let var = |value| Var {
            value,
            origin: VarOrigin::Default,
        };
        let vars = [
            ("java", var(VarValue::Text("17".into()))),
            ("count", var(VarValue::Integer(3))),
            ("token", var(VarValue::Secret("s3cret-value".into()))),
        ];
        Context::new("worker", vars.iter().map(|(name, var)| (*name, var)))
    }

    #[test]
    fn fills_in_and_keeps_the_rest() {
        let rendered = context()
            .render("apt install openjdk-{{ vars.java }}\n")
            .unwrap();
        assert_eq!(rendered.value, "apt install openjdk-17\n");
        assert!(!rendered.secret);
        for shell in ["n=${#list[@]}", "${x%%/*}", "${x##*/}", "awk '{print $1}'"] {
            assert_eq!(context().render(shell).unwrap().value, shell);
        }
    }

    #[test]
    fn every_unknown_name_is_told_even_in_a_branch_not_taken() {
        let problems = context()
            .render("{% if false %}{{ vars.jaav }}{% endif %}{{ java }} {{ bake.id }}")
            .unwrap_err();
        let messages: Vec<&str> = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "`bake.id` is known only while a bake runs",
                "`java` is not defined",
                "there is no variable `jaav`",
            ]
        );
    }

    #[test]
    fn a_secret_is_noticed_however_it_is_reached() {
        for text in [
            "{{ vars.token }}",
            "{{ vars.token | upper }}",
            "{{ vars['token'] }}",
            "{% set v = vars %}{{ v.token }}",
            "{% for k in vars %}{{ vars[k] }}{% endfor %}",
            "{% if vars.token == 'x' %}y{% endif %}",
        ] {
            assert!(context().render(text).unwrap().secret, "{text}");
            assert!(context().try_late(text).is_err(), "{text}");
        }
        assert!(context().render("{{ debug() }}").is_err());
    }

    #[test]
    fn a_sole_expression_keeps_its_type() {
        assert_eq!(
            context().render_any("{{ vars.count }}").unwrap().value,
            json!(3)
        );
        assert_eq!(
            context().render_any("{{ vars.count + 1 }}").unwrap().value,
            json!(4)
        );
        assert_eq!(
            context().render_any("n {{ vars.count }}").unwrap().value,
            json!("n 3")
        );
        let secret = context().render_any("{{ [vars.token] }}").unwrap().value;
        assert!(Text::from_json(&secret[0]).unwrap().is_secret());
    }

    #[test]
    fn an_error_about_a_secret_does_not_quote_it() {
        for text in [
            "{{ vars.token | int }}",
            "{{ vars.token + 1 }}",
            "{{ vars.token.x.y }}",
        ] {
            if let Err(problems) = context().render(text) {
                assert!(!format!("{problems:?}").contains("s3cret"), "{problems:?}");
            }
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        let rendered = context().render("{{ \"it's\" | quote }}").unwrap();
        assert_eq!(shell_words::split(&rendered.value).unwrap(), ["it's"]);
    }

    #[test]
    fn an_endless_template_ends() {
        let text =
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(context().render(text).is_err());
    }
}
