//! Facts of a machine: a script run as root prints `name value` lines.

use std::collections::BTreeMap;

use forno_link::{Command, Link, capture};

use crate::{Mismatch, StepContext, StepError};

#[derive(Debug, Default)]
pub(super) struct Facts(BTreeMap<String, String>);

impl Facts {
    pub(super) async fn ask(
        link: &dyn Link,
        what: &str,
        script: &str,
        args: &[&str],
        ctx: &StepContext,
    ) -> Result<Self, StepError> {
        let command = Command::script(script, args).sudo(true);
        let output = capture(link, command, &ctx.cancel).await?;
        if output.exit.success() {
            Ok(Self::parse(&output.stdout))
        } else {
            Err(StepError::guest(format!("{what}: {}", output.reason())))
        }
    }

    fn parse(text: &str) -> Self {
        Self(
            text.lines()
                .map(|line| line.split_once(' ').unwrap_or((line, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Collects what is otherwise.
#[derive(Debug, Default)]
pub(super) struct Comparison(pub(super) Vec<Mismatch>);

impl Comparison {
    pub(super) fn differs(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.0.push(Mismatch {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        });
    }

    /// A wanted value, where one is wanted, against what was found.
    pub(super) fn equal(&mut self, what: String, wanted: Option<&str>, found: Option<&str>) {
        if let Some(wanted) = wanted
            && found != Some(wanted)
        {
            self.differs(what, wanted, found.unwrap_or("nothing"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_spaces_or_be_missing() {
        let facts = Facts::parse("name one two\nflag\n");
        assert_eq!(facts.get("name"), Some("one two"));
        assert_eq!(facts.get("flag"), Some(""));
        assert_eq!(facts.get("other"), None);
    }
}
