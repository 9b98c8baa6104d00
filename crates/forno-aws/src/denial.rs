//! Why a call was denied: EC2 says it in code, and STS reads it out to whoever may see it.
//!
//! The code is found in the text of an error, because that is what is left of an error by
//! the time somebody reads it.

use std::fmt;

use serde::Deserialize;

use crate::error::Error;
use crate::gateway::Gateway;

const LEAD: &str = "Encoded authorization failure message: ";

/// The code in an error's text.
pub fn denial_code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(LEAD)?;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-_=+/".contains(c)))
        .unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The text without the code, which nobody can read and which is a thousand letters long.
pub fn without_denial_code(text: &str) -> String {
    match denial_code(text) {
        Some(code) => text.replace(code, "…"),
        None => text.to_owned(),
    }
}

/// Who was denied what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub principal: String,
    /// Such as `ec2:RunInstances`.
    pub action: String,
    pub resource: String,
    /// A policy says no; else none says yes.
    pub explicit: bool,
    /// What policies can make a condition of, as key and values: tags and the region.
    pub conditions: Vec<(String, String)>,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            principal,
            action,
            resource,
            explicit,
            conditions,
        } = self;
        let why = if *explicit {
            "a policy denies it"
        } else {
            "no policy allows it"
        };
        write!(f, "{principal} may not {action} on {resource}: {why}")?;
        for (index, (key, value)) in conditions.iter().enumerate() {
            let lead = if index == 0 {
                "; it was asked with "
            } else {
                ", "
            };
            write!(f, "{lead}{key} = {value}")?;
        }
        Ok(())
    }
}

impl Gateway {
    /// Reads a code out; not everybody may (`sts:DecodeAuthorizationMessage`).
    pub async fn decode_denial(&self, code: &str) -> Result<Denial, Error> {
        let call = self.call("DecodeAuthorizationMessage");
        let reply = self
            .clients()
            .sts
            .decode_authorization_message()
            .encoded_message(code)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let document = reply
            .decoded_message
            .ok_or_else(|| call.malformed("no message in it"))?;
        read(&document).map_err(|error| call.malformed(error))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    explicit_deny: bool,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    principal: Principal,
    action: String,
    resource: String,
    #[serde(default)]
    conditions: Items<Condition>,
}

#[derive(Deserialize)]
struct Principal {
    arn: String,
}

#[derive(Deserialize)]
struct Condition {
    key: String,
    #[serde(default)]
    values: Items<Value>,
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

/// Conditions that people write policies with; EC2 tells dozens more.
const TOLD: [&str; 5] = [
    "aws:RequestTag/",
    "aws:ResourceTag/",
    "ec2:ResourceTag/",
    "aws:RequestedRegion",
    "ec2:CreateAction",
];

fn read(document: &str) -> Result<Denial, serde_json::Error> {
    let Document {
        explicit_deny,
        context,
    } = serde_json::from_str(document)?;
    let conditions = context.conditions.items.into_iter();
    Ok(Denial {
        principal: context.principal.arn,
        action: context.action,
        resource: context.resource,
        explicit: explicit_deny,
        conditions: conditions
            .filter(|one| TOLD.iter().any(|told| one.key.starts_with(told)))
            .map(|one| {
                let values: Vec<String> =
                    one.values.items.into_iter().map(|one| one.value).collect();
                (one.key, values.join(" or "))
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After the example in the reference of DecodeAuthorizationMessage.
    const DOCUMENT: &str = r#"{
        "allowed": false, "explicitDeny": true, "matchedStatements": {"items": []}, "failures": {"items": []},
        "context": {
            "principal": {"id": "AIDACKCEVSQ6C2EXAMPLE", "name": "Bob", "arn": "arn:aws:iam::111122223333:user/Bob"},
            "action": "ec2:RunInstances",
            "resource": "arn:aws:ec2:us-east-1:111122223333:volume/*",
            "conditions": {"items": [
                {"key": "ec2:Tenancy", "values": {"items": [{"value": "default"}]}},
                {"key": "aws:RequestTag/forno:image", "values": {"items": [{"value": "worker"}]}},
                {"key": "aws:RequestedRegion", "values": {"items": [{"value": "us-east-1"}]}}
            ]}
        }
    }"#;

    #[test]
    fn what_is_told_of_a_denial() {
        assert_eq!(
            read(DOCUMENT).unwrap().to_string(),
            "arn:aws:iam::111122223333:user/Bob may not ec2:RunInstances on \
             arn:aws:ec2:us-east-1:111122223333:volume/*: a policy denies it; it was asked with \
             aws:RequestTag/forno:image = worker, aws:RequestedRegion = us-east-1"
        );
    }

    #[test]
    fn a_code_is_found_in_what_is_said_around_it() {
        let said =
            "RunInstances failed: no. Encoded authorization failure message: aB-_9= (request 1)";
        assert_eq!(denial_code(said), Some("aB-_9="));
        assert_eq!(
            without_denial_code(said),
            "RunInstances failed: no. Encoded authorization failure message: … (request 1)"
        );
        for none in ["", "Encoded authorization failure message: ", "aB-_9="] {
            assert_eq!(denial_code(none), None, "{none}");
            assert_eq!(without_denial_code(none), none);
        }
    }
}
