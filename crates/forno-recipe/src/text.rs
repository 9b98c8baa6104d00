//! Strings of a recipe after templating.
//!
//! Three kinds, because a secret must not travel where it could be read:
//! a plain `String` never holds one (the shape check refuses it), a [`Text`]
//! may and then shows its template instead, and a [`Late`] is rendered a second
//! time with what only a running bake knows.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::template;

/// The key of the object by which a rendered secret passes through
/// `serde_json::Value`. A NUL cannot stand in a TOML document, so no recipe can forge it.
pub(crate) const SECRET_MARK: &str = "\0secret";

/// A string that may hold a secret. Everything that prints or records it gets
/// the template that it was made from; only [`Text::expose`] gives the value.
#[derive(Clone)]
pub struct Text(Inner);

#[derive(Clone)]
enum Inner {
    Plain(String),
    Secret { value: SecretString, shown: String },
}

impl Text {
    pub fn plain(value: impl Into<String>) -> Self {
        Self(Inner::Plain(value.into()))
    }

    /// `shown` stands for the value wherever it is printed.
    pub fn secret(value: impl Into<String>, shown: impl Into<String>) -> Self {
        Self(Inner::Secret {
            value: SecretString::from(value.into()),
            shown: shown.into(),
        })
    }

    /// The value itself; for the one who sends it to the machine.
    pub fn expose(&self) -> &str {
        match &self.0 {
            Inner::Plain(value) => value,
            Inner::Secret { value, .. } => value.expose_secret(),
        }
    }

    pub fn is_secret(&self) -> bool {
        matches!(self.0, Inner::Secret { .. })
    }

    /// What may be shown: the value, or for a secret the template that made it.
    pub fn shown(&self) -> &str {
        match &self.0 {
            Inner::Plain(value) => value,
            Inner::Secret { shown, .. } => shown,
        }
    }

    pub(crate) fn join(parts: &[Self], separator: &str) -> Self {
        let exposed: Vec<&str> = parts.iter().map(Self::expose).collect();
        if parts.iter().any(Self::is_secret) {
            let shown: Vec<&str> = parts.iter().map(Self::shown).collect();
            Self::secret(exposed.join(separator), shown.join(separator))
        } else {
            Self::plain(exposed.join(separator))
        }
    }

    /// The form in which a rendered string travels from the shape check to serde.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.0 {
            Inner::Plain(value) => value.clone().into(),
            Inner::Secret { value, shown } => {
                serde_json::json!({ SECRET_MARK: value.expose_secret(), "shown": shown })
            }
        }
    }

    pub(crate) fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Some(Self::plain(text)),
            serde_json::Value::Object(map) => Some(Self::secret(
                map.get(SECRET_MARK)?.as_str()?,
                map.get("shown")?.as_str()?,
            )),
            _ => None,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::plain("")
    }
}

impl From<&str> for Text {
    fn from(value: &str) -> Self {
        Self::plain(value)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose() && self.shown() == other.shown()
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::from_json(&value).ok_or_else(|| D::Error::custom("expected a string"))
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-forno-type": "text" })
    }
}

/// One text given as a string or as a list of lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Lines(pub Text);

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = match &value {
            serde_json::Value::Array(lines) => lines
                .iter()
                .map(Text::from_json)
                .collect::<Option<Vec<_>>>()
                .map(|lines| Text::join(&lines, "\n")),
            one => Text::from_json(one),
        };
        text.map(Self)
            .ok_or_else(|| D::Error::custom("expected a string or a list of strings"))
    }
}

impl JsonSchema for Lines {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lines".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "x-forno-type": "text" },
                { "type": "array", "items": { "type": "string", "x-forno-type": "text" } },
            ],
        })
    }
}

/// One or several words, given as a string (split at white space) or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => text.split_whitespace().map(str::to_owned).collect(),
            OneOrMany::Many(words) => words,
        }))
    }
}

impl JsonSchema for Words {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
            ],
        })
    }
}

/// One or several values, given as a string (taken whole) or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(values) => values,
        }))
    }
}

impl JsonSchema for Values {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Words::json_schema(generator)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Any value, as Ansible's extra variables take them. No null: TOML has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Text),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// With secrets in clear, for the one who sends it to its destination.
    pub fn expose(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(text) => text.expose().into(),
            Self::List(items) => items.iter().map(Self::expose).collect(),
            Self::Map(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), value.expose()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn from_json(value: serde_json::Value) -> Option<Self> {
        use serde_json::Value as Json;
        if let Some(text) = Text::from_json(&value) {
            return Some(Self::Text(text));
        }
        Some(match value {
            Json::Null | Json::String(_) => return None,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Float(number.as_f64()?),
            },
            Json::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(Self::from_json)
                    .collect::<Option<_>>()?,
            ),
            Json::Object(map) => Self::Map(
                map.into_iter()
                    .map(|(key, value)| Some((key, Self::from_json(value)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::from_json(value).ok_or_else(|| D::Error::custom("a null has no place here"))
    }
}

impl JsonSchema for Value {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-forno-type": "any" })
    }
}

/// Whether an entry of a recipe counts: a boolean, or a template that comes to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Condition(pub(crate) bool);

impl Default for Condition {
    fn default() -> Self {
        Self(true)
    }
}

impl JsonSchema for Condition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "string"], "x-forno-type": "condition" })
    }
}

/// What only a running bake knows, for the second rendering of a [`Late`].
///
/// In templates: `bake.id`, `bake.short_id`, `bake.timestamp`, `bake.date`,
/// `source.id`, `source.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BakeFacts {
    pub bake_id: String,
    pub bake_short_id: String,
    /// When the bake started.
    pub started: jiff::Timestamp,
    /// The AMI it starts from.
    pub source_id: String,
    pub source_name: String,
}

impl BakeFacts {
    /// Facts that look like real ones; a template is tried with them while the
    /// recipe is checked, so that it does not fail an hour later.
    pub(crate) fn specimen(image: &str) -> Self {
        Self {
            bake_id: format!("{image}-01jd0000000000000000000000"),
            bake_short_id: "0000000000".into(),
            started: jiff::Timestamp::UNIX_EPOCH,
            source_id: "ami-00000000000000000".into(),
            source_name: "debian-12-amd64-20250101-0000".into(),
        }
    }
}

/// A string that is rendered when the bake runs: the name of the AMI,
/// descriptions, tags and user data. Never holds a secret.
#[derive(Clone, PartialEq)]
pub struct Late {
    template: String,
    context: serde_json::Value,
}

impl Late {
    pub(crate) fn new(template: String, context: serde_json::Value) -> Self {
        Self { template, context }
    }

    /// A text without anything to fill in.
    pub fn fixed(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        Self::new(format!("{{{{ {quoted} }}}}"), serde_json::Value::Null)
    }

    /// The template as the recipe has it.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The final text. It was tried when the recipe was checked; it can still
    /// fail when a filter dislikes a real value.
    pub fn render(&self, facts: &BakeFacts) -> Result<String, LateError> {
        template::render_late(&self.template, &self.context, facts).map_err(|error| LateError {
            template: self.template.clone(),
            message: error,
        })
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "template": self.template, "context": self.context })
    }
}

/// A template that was good with specimen values and fails with the real ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot render `{template}`: {message}")]
pub struct LateError {
    pub template: String,
    pub message: String,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.template, f)
    }
}

impl Serialize for Late {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.template)
    }
}

impl<'de> Deserialize<'de> for Late {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts {
            template: String,
            context: serde_json::Value,
        }
        let parts = Parts::deserialize(deserializer)?;
        Ok(Self::new(parts.template, parts.context))
    }
}

impl JsonSchema for Late {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Late".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-forno-type": "late" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_text_shows_its_template_everywhere() {
        let text = Text::secret("hunter2!", "{{ vars.token }}");
        for shown in [
            format!("{text}"),
            format!("{text:?}"),
            serde_json::to_string(&text).unwrap(),
            serde_json::to_string(&Value::List(vec![Value::Text(text.clone())])).unwrap(),
        ] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("vars.token"), "{shown}");
        }
        assert_eq!(text.expose(), "hunter2!");
    }

    #[test]
    fn a_secret_survives_the_way_through_json_and_stays_one() {
        let text = Text::secret("hunter2!", "{{ vars.token }}");
        let back: Text = serde_json::from_value(text.to_json()).unwrap();
        assert!(back.is_secret());
        assert_eq!(back, text);
        let lines: Lines =
            serde_json::from_value(serde_json::json!(["a", text.to_json()])).unwrap();
        assert!(lines.0.is_secret());
        assert_eq!(lines.0.expose(), "a\nhunter2!");
    }
}
