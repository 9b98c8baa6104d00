//! The input of a call as a plan of faults sees it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The members of a request as a plan of faults names them: members of lists
/// and structures by their path, as in EC2's protocol.
pub(crate) fn members(body: &[u8]) -> BTreeMap<String, String> {
    fn flatten(name: String, value: Value, into: &mut BTreeMap<String, String>) {
        let inner = |part: String| {
            if name.is_empty() {
                part
            } else {
                format!("{name}.{part}")
            }
        };
        match value {
            Value::Object(members) => {
                for (part, value) in members {
                    flatten(inner(part), value, into);
                }
            }
            Value::Array(items) => {
                for (index, value) in (1..).zip(items) {
                    flatten(inner(index.to_string()), value, into);
                }
            }
            Value::Null => {}
            Value::String(text) => {
                into.insert(name, text);
            }
            Value::Bool(_) | Value::Number(_) => {
                into.insert(name, value.to_string());
            }
        }
    }
    let mut found = BTreeMap::new();
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(body) {
        flatten(String::new(), value, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_by_their_path() {
        let found =
            members(br#"{"Names": ["/a", "/b"], "WithDecryption": true, "Filter": {"Key": "k"}}"#);
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            found,
            [
                "Filter.Key=k",
                "Names.1=/a",
                "Names.2=/b",
                "WithDecryption=true"
            ]
        );
        assert!(members(b"[1]").is_empty() && members(b"{").is_empty());
    }
}
