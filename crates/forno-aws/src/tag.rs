//! Tags, and finding by them.
//!
//! Tags are how forno finds again what it made when it no longer knows the id, so a
//! search must match exactly what was written: EC2 reads `*`, `?` and `\` in the
//! values of a filter as a pattern, and they are escaped here.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use serde::{Deserialize, Serialize};

/// The tags of a resource, or those that it shall get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same tags and this one, in place of an earlier one of that key.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// The same tags and these, in place of earlier ones of their keys.
    pub fn overlaid(&self, over: &Self) -> Self {
        let mut both = self.clone();
        both.0.extend(over.0.clone());
        both
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn from_sdk(tags: Option<Vec<Tag>>) -> Self {
        tags.into_iter()
            .flatten()
            .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
            .collect()
    }

    /// One specification per kind of resource, or none at all: EC2 refuses an
    /// empty one.
    pub(crate) fn specifications(&self, kinds: &[ResourceType]) -> Option<Vec<TagSpecification>> {
        if self.is_empty() {
            return None;
        }
        let tags: Vec<Tag> = self
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        Some(
            kinds
                .iter()
                .map(|kind| {
                    TagSpecification::builder()
                        .resource_type(kind.clone())
                        .set_tags(Some(tags.clone()))
                        .build()
                })
                .collect(),
        )
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(tags: I) -> Self {
        Self(
            tags.into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}

/// One condition of a search by tags; several are all to be met. A search without any
/// finds nothing: deletions follow from what is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMatch {
    key: String,
    value: Option<String>,
}

impl TagMatch {
    /// Has this tag with exactly this value.
    pub fn is(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// Has this tag, whatever its value.
    pub fn has(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: None,
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Whether these tags are such.
    pub fn holds(&self, tags: &Tags) -> bool {
        let there = tags.get(&self.key);
        there.is_some()
            && self
                .value
                .as_deref()
                .is_none_or(|value| there == Some(value))
    }

    /// As Describe calls of resources want it.
    pub(crate) fn filter(&self) -> Filter {
        match &self.value {
            Some(value) => filter(format!("tag:{}", self.key), [literal(value)]),
            None => filter("tag-key", [literal(&self.key)]),
        }
    }
}

pub(crate) fn tag_filters(conditions: &[TagMatch]) -> Vec<Filter> {
    conditions.iter().map(TagMatch::filter).collect()
}

/// Conditions of a search, by EC2's filter names; the values of one are alternatives, in
/// which `*` and `?` stand for anything.
pub type Filters = std::collections::BTreeMap<String, Vec<String>>;

pub(crate) fn sdk_filters(filters: &Filters) -> Vec<Filter> {
    filters
        .iter()
        .map(|(name, values)| filter(name, values))
        .collect()
}

/// EC2 takes at most so many values of one filter.
pub(crate) const MOST_PER_FILTER: usize = 200;

pub(crate) fn filter(
    name: impl Into<String>,
    values: impl IntoIterator<Item = impl Into<String>>,
) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.into_iter().map(Into::into).collect()))
        .build()
}

/// A filter value that matches this text and nothing else.
pub(crate) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_wildcards_is_searched_literally() {
        let filter = TagMatch::is("Name", r"what? 100% * \o/").filter();
        assert_eq!(filter.name(), Some("tag:Name"));
        assert_eq!(filter.values(), [r"what\? 100% \* \\o/"]);
    }

    #[test]
    fn no_tags_make_no_specification() {
        assert!(Tags::new().specifications(&[ResourceType::Image]).is_none());
        let both = Tags::new()
            .with("forno:bake", "1")
            .specifications(&[ResourceType::Image, ResourceType::Snapshot])
            .unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].tags()[0].key(), Some("forno:bake"));
    }
}
