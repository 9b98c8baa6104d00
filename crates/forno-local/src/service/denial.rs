//! Why EC2 says no: a document that whoever was refused gets in code only, and STS reads out
//! to whoever may see it.
//!
//! AWS's own code is secret; here it is base64 of the document, which nobody should rely on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::faults::Asked;
use crate::state::world::ACCOUNT;

/// Who asks: the one user that there is.
pub(super) fn user_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/forno")
}

/// What EC2 answers to a call that no policy allows.
pub(super) fn message(asked: &Asked) -> String {
    let document = document(asked).to_string();
    format!(
        "You are not authorized to perform this operation. User: {} is not authorized to perform: ec2:{action} \
         because no identity-based policy allows the ec2:{action} action. Encoded authorization failure message: {}",
        user_arn(),
        URL_SAFE_NO_PAD.encode(document),
        action = asked.action,
    )
}

/// The document in a code of [`message`]'s.
pub(super) fn decode(code: &str) -> Option<String> {
    let document = String::from_utf8(URL_SAFE_NO_PAD.decode(code).ok()?).ok()?;
    let value: Value = serde_json::from_str(&document).ok()?;
    value.get("context").is_some().then_some(document)
}

/// As the documentation of DecodeAuthorizationMessage shows it.
fn document(asked: &Asked) -> Value {
    let items = |values: Vec<Value>| json!({ "items": values });
    let condition = |key: String, value: &str| {
        let values = items(vec![json!({ "value": value })]);
        json!({ "key": key, "values": values })
    };
    let mut conditions = vec![condition("aws:RequestedRegion".to_owned(), asked.region)];
    for (name, key) in &asked.parameters {
        if let Some(tag) = name.strip_suffix(".Key")
            && tag.starts_with("TagSpecification.")
            && let Some(value) = asked.parameters.get(&format!("{tag}.Value"))
        {
            conditions.push(condition(format!("aws:RequestTag/{key}"), value));
        }
    }
    json!({
        "allowed": false,
        "explicitDeny": false,
        "matchedStatements": items(Vec::new()),
        "failures": items(Vec::new()),
        "context": {
            "principal": { "id": "AIDAFORNO", "name": "forno", "arn": user_arn() },
            "action": format!("ec2:{}", asked.action),
            "resource": format!("arn:aws:ec2:{}:{ACCOUNT}:*/*", asked.region),
            "conditions": items(conditions),
        },
    })
}
