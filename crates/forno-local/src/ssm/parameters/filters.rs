//! The filters of DescribeParameters and GetParametersByPath.

use serde::Deserialize;

use crate::api::error::ApiError;
use crate::ssm::check;
use crate::state::parameters::Parameter;
use crate::state::world::OwnParameter;

/// One filter that was understood.
pub(super) struct Filter {
    key: Key,
    option: How,
    values: Vec<String>,
}

enum Key {
    Name,
    Type,
    Path,
    Tier,
    DataType,
    Tag(String),
    /// Nothing here has one: `KeyId`, `Label`.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Equals,
    BeginsWith,
    Contains,
    Recursive,
    OneLevel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Written {
    key: String,
    option: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

/// The older form, which knows fewer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Old {
    key: String,
    values: Vec<String>,
}

/// Reads filters whose keys are some of those that there are.
pub(super) fn read(written: Vec<Written>, known: &[&str]) -> Result<Vec<Filter>, ApiError> {
    written.into_iter().map(|one| one.read(known)).collect()
}

/// Reads filters of the older form.
pub(super) fn read_old(old: Vec<Old>) -> Result<Vec<Filter>, ApiError> {
    let filter = |Old { key, values }: Old| {
        check::word("filters.member.key", &key, &["Name", "Type", "KeyId"])?;
        let option = (key == "Name").then(|| "BeginsWith".to_owned());
        Written {
            key,
            option,
            values,
        }
        .read(&["Name", "Type", "KeyId"])
    };
    old.into_iter().map(filter).collect()
}

impl Written {
    fn read(self, known: &[&str]) -> Result<Filter, ApiError> {
        let bad = |code: &'static str, what: &str| {
            Err(ApiError::new(
                code,
                format!("The following filter {what} is not valid: {}.", self.key),
            ))
        };
        let tag = self.key.strip_prefix("tag:");
        if !known.contains(&self.key.as_str()) && (tag.is_none() || !known.contains(&"tag:")) {
            return bad("InvalidFilterKey", "key");
        }
        let key = match self.key.as_str() {
            "Name" => Key::Name,
            "Type" => Key::Type,
            "Path" => Key::Path,
            "Tier" => Key::Tier,
            "DataType" => Key::DataType,
            _ => tag.map_or(Key::Nothing, |tag| Key::Tag(tag.to_owned())),
        };
        let option = match (self.option.as_deref(), &key) {
            (None | Some("OneLevel"), Key::Path) => How::OneLevel,
            (Some("Recursive"), Key::Path) => How::Recursive,
            (None | Some("Equals"), _) if !matches!(key, Key::Path) => How::Equals,
            (Some("BeginsWith"), Key::Name | Key::Type | Key::Nothing) => How::BeginsWith,
            (Some("Contains"), Key::Name) => How::Contains,
            _ => return bad("InvalidFilterOption", "option"),
        };
        // A tag alone may be asked for.
        if self.values.is_empty() && !matches!(key, Key::Tag(_)) || self.values.len() > 50 {
            return bad("InvalidFilterValue", "value");
        }
        Ok(Filter {
            key,
            option,
            values: self.values,
        })
    }
}

impl Filter {
    pub(super) fn matches(&self, parameter: &Parameter, own: Option<&OwnParameter>) -> bool {
        let is = |value: &str| {
            self.values.is_empty()
                || self.values.iter().any(|wanted| match self.option {
                    How::Equals => wanted == value,
                    How::BeginsWith => value.starts_with(wanted.as_str()),
                    How::Contains => value.contains(wanted.as_str()),
                    How::Recursive => below(value, wanted, true),
                    How::OneLevel => below(value, wanted, false),
                })
        };
        match &self.key {
            Key::Name | Key::Path => is(&parameter.name),
            Key::Type => is(&parameter.kind),
            Key::DataType => is(&parameter.data_type),
            Key::Tier => own.is_some_and(|own| is(&own.tier)),
            Key::Tag(key) => own.is_some_and(|own| own.tags.get(key).is_some_and(|tag| is(tag))),
            Key::Nothing => false,
        }
    }
}

/// Whether a name lies in a path, or somewhere below it.
pub(super) fn below(name: &str, path: &str, recursive: bool) -> bool {
    let rest = name
        .strip_prefix(path.trim_end_matches('/'))
        .and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| recursive || !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert!(below("/a/b", "/a", false) && below("/a/b", "/a/", false));
        assert!(!below("/a/b/c", "/a", false) && below("/a/b/c", "/a", true));
        assert!(!below("/ab", "/a", true) && !below("/a", "/a", true) && !below("b", "/", true));
        assert!(below("/a", "/", false));
    }
}
