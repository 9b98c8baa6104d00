//! A statement of an IAM policy, as the document has it.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "Condition::is_empty")]
    condition: Condition,
}

impl Statement {
    /// On everything, until [`Self::on`] says otherwise.
    pub(super) fn new(
        sid: &'static str,
        mut action: Vec<&'static str>,
        condition: Condition,
    ) -> Self {
        action.sort_unstable();
        Self {
            sid,
            effect: "Allow",
            action,
            resource: vec!["*".to_owned()],
            condition,
        }
    }

    pub(super) fn on(mut self, resource: Vec<String>) -> Self {
        self.resource = resource;
        self
    }

    pub(super) fn actions(&self) -> impl Iterator<Item = &'static str> {
        self.action.iter().copied()
    }
}

/// By operator and key; all of them must hold, and of a key's values any.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Condition(BTreeMap<&'static str, BTreeMap<String, Vec<String>>>);

impl Condition {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No values, no condition.
    fn with(mut self, operator: &'static str, key: impl Into<String>, values: &[String]) -> Self {
        if !values.is_empty() {
            let keys = self.0.entry(operator).or_default();
            keys.insert(key.into(), values.to_vec());
        }
        self
    }

    pub(super) fn equals(self, key: impl Into<String>, values: &[String]) -> Self {
        self.with("StringEquals", key, values)
    }

    pub(super) fn like(self, key: impl Into<String>, values: &[String]) -> Self {
        self.with("StringLike", key, values)
    }

    /// Of a key that has several values itself.
    pub(super) fn any_equals(self, key: impl Into<String>, values: &[String]) -> Self {
        self.with("ForAnyValue:StringEquals", key, values)
    }

    pub(super) fn holds(self, key: impl Into<String>) -> Self {
        self.with("Bool", key, &["true".to_owned()])
    }
}
