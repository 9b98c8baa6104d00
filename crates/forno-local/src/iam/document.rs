//! Policy documents: whether IAM would take them, and how it writes them down.

use serde_json::Value;

use crate::api::error::ApiError;

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Who may be a role.
    Trust,
    /// What a role may do.
    Permissions,
}

/// Its form only: names of actions are not looked at.
pub(super) fn check(text: &str, kind: Kind) -> Result<(), ApiError> {
    let wrong = |why: &str| ApiError::new("MalformedPolicyDocument", why);
    let document: Value =
        serde_json::from_str(text).map_err(|_| wrong("This policy contains invalid Json"))?;
    let Some(members) = document.as_object() else {
        return Err(wrong("Syntax errors in policy."));
    };
    if let Some(name) = members
        .keys()
        .find(|name| !["Version", "Id", "Statement"].contains(&name.as_str()))
    {
        return Err(wrong(&format!(
            "Syntax errors in policy: unknown member {name}."
        )));
    }
    if members
        .get("Version")
        .is_some_and(|version| version != "2012-10-17" && version != "2008-10-17")
    {
        return Err(wrong("Syntax errors in policy: unknown version."));
    }
    let statements: Vec<&Value> = match members.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => {
            return Err(wrong(
                "Policy document must contain at least one statement.",
            ));
        }
    };
    for statement in statements {
        let Some(said) = statement.as_object() else {
            return Err(wrong("Syntax errors in policy: a statement is no object."));
        };
        let one_of = |names: [&str; 2]| names.iter().any(|name| said.contains_key(*name));
        let effect = said.get("Effect").and_then(Value::as_str);
        if !matches!(effect, Some("Allow" | "Deny")) {
            return Err(wrong(
                "Syntax errors in policy: a statement needs an Effect.",
            ));
        }
        if !one_of(["Action", "NotAction"]) {
            return Err(wrong("Policy statement must contain actions."));
        }
        match kind {
            Kind::Trust if one_of(["Resource", "NotResource"]) => {
                return Err(wrong("Has prohibited field Resource"));
            }
            Kind::Trust if !one_of(["Principal", "NotPrincipal"]) => {
                return Err(wrong("Missing required field Principal"));
            }
            Kind::Permissions if one_of(["Principal", "NotPrincipal"]) => {
                return Err(wrong("Policy document should not specify a principal."));
            }
            Kind::Permissions if !one_of(["Resource", "NotResource"]) => {
                return Err(wrong("Policy statement must contain resources."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Characters that count against IAM's quotas.
pub(super) fn size(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

/// As replies have them: percent-encoded.
pub(super) fn written(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iam_would_refuse() {
        let statement =
            |inside: &str| format!(r#"{{"Version":"2012-10-17","Statement":{{{inside}}}}}"#);
        let allows = r#""Effect":"Allow","Action":"s3:GetObject""#;
        let good = statement(&format!(r#"{allows},"Resource":"*""#));
        assert_eq!(check(&good, Kind::Permissions), Ok(()));
        let trust = statement(
            r#""Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}"#,
        );
        assert_eq!(check(&trust, Kind::Trust), Ok(()));
        for bad in [
            "x",
            "[]",
            "{}",
            r#"{"Statement":[]}"#,
            r#"{"Version":"2026-01-01","Statement":{}}"#,
            r#"{"Statements":[]}"#,
            &statement(allows),
            &statement(r#""Effect":"Perhaps","Action":"*","Resource":"*""#),
            &statement(r#""Effect":"Allow","Resource":"*""#),
            &trust,
        ] {
            let error = check(bad, Kind::Permissions).unwrap_err();
            assert_eq!(error.code(), "MalformedPolicyDocument", "{bad}");
        }
        assert!(check(&good, Kind::Trust).is_err());
    }

    #[test]
    fn documents_are_written_as_they_are_in_addresses() {
        assert_eq!(written("{\"a\": 1}"), "%7B%22a%22%3A%201%7D");
        assert_eq!(size("{ \"a\": 1 }\n"), 7);
    }
}
