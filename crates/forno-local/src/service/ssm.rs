//! SSM: enough of Parameter Store to resolve Debian's public parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::state::parameters::{Parameter, parameters};
use crate::state::regions::Region;

/// Those that are there.
pub(crate) const ACTIONS: &[&str] = &["GetParameter", "GetParameters", "GetParametersByPath"];
/// Most names of one GetParameters, most results of one GetParametersByPath.
const MOST: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParameter {
    name: String,
    // Nothing here is encrypted.
    #[serde(rename = "WithDecryption")]
    _with_decryption: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParameters {
    names: Vec<String>,
    #[serde(rename = "WithDecryption")]
    _with_decryption: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetParametersByPath {
    path: String,
    recursive: Option<bool>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(rename = "WithDecryption")]
    _with_decryption: Option<bool>,
}

pub(super) async fn answer(
    service: &Arc<Service>,
    target: String,
    body: Vec<u8>,
    region: Region,
) -> Result<Vec<u8>, ApiError> {
    service
        .perform(move |service| {
            let known = service
                .store
                .read(|world| world.regions.get(region.name).map(parameters))
                .unwrap_or_default();
            let reply = match target.strip_prefix("AmazonSSM.") {
                Some("GetParameter") => get_parameter(&known, &read(&body)?, region)?,
                Some("GetParameters") => get_parameters(&known, &read(&body)?, region)?,
                Some("GetParametersByPath") => by_path(&known, &read(&body)?, region)?,
                _ => {
                    return Err(ApiError::new(
                        "UnknownOperationException",
                        format!("The pocket EC2 does not know the operation {target}"),
                    ));
                }
            };
            Ok(Performed {
                body: reply.to_string().into_bytes(),
                ..Performed::default()
            })
        })
        .await
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new("ValidationException", error.to_string()))
}

fn get_parameter(
    known: &[Parameter],
    input: &GetParameter,
    region: Region,
) -> Result<Value, ApiError> {
    let found = known.iter().find(|parameter| parameter.name == input.name);
    let found = found.ok_or_else(|| ApiError::new("ParameterNotFound", ""))?;
    Ok(json!({ "Parameter": show(found, region) }))
}

fn get_parameters(
    known: &[Parameter],
    input: &GetParameters,
    region: Region,
) -> Result<Value, ApiError> {
    if input.names.is_empty() || input.names.len() > MOST {
        return Err(ApiError::new(
            "ValidationException",
            format!("names must have between 1 and {MOST} members"),
        ));
    }
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in &input.names {
        match known.iter().find(|parameter| parameter.name == *name) {
            Some(parameter) => found.push(show(parameter, region)),
            None => invalid.push(name),
        }
    }
    Ok(json!({ "Parameters": found, "InvalidParameters": invalid }))
}

fn by_path(
    known: &[Parameter],
    input: &GetParametersByPath,
    region: Region,
) -> Result<Value, ApiError> {
    if !input.path.starts_with('/') {
        return Err(ApiError::new(
            "ValidationException",
            "The parameter path must begin with a slash",
        ));
    }
    let size = input.max_results.unwrap_or(MOST);
    if !(1..=MOST).contains(&size) {
        return Err(ApiError::new(
            "ValidationException",
            format!("maxResults must be between 1 and {MOST}"),
        ));
    }
    let path = format!("{}/", input.path.trim_end_matches('/'));
    let recursive = input.recursive.unwrap_or(false);
    let after = input.next_token.as_deref().unwrap_or_default();
    let mut found: Vec<&Parameter> = known
        .iter()
        .filter(|parameter| {
            let rest = parameter.name.strip_prefix(&path);
            rest.is_some_and(|rest| recursive || !rest.contains('/'))
                && parameter.name.as_str() > after
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let more = found.len() > size;
    found.truncate(size);
    let mut reply = json!({ "Parameters": found.iter().map(|parameter| show(parameter, region)).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        reply["NextToken"] = json!(last.name);
    }
    Ok(reply)
}

fn show(parameter: &Parameter, region: Region) -> Value {
    json!({
        "Name": parameter.name,
        "Type": "String",
        "Value": parameter.value,
        "Version": parameter.version,
        "LastModifiedDate": parameter.modified.as_second(),
        "ARN": format!("arn:aws:ssm:{}::parameter{}", region.name, parameter.name),
        "DataType": "aws:ec2:image",
    })
}

/// The members of a request as a plan of faults names them: members of lists
/// and structures by their path, as in EC2's protocol.
pub(super) fn members(body: &[u8]) -> BTreeMap<String, String> {
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

/// The document in which JSON services say no.
pub(super) fn error_document(error: &ApiError) -> Vec<u8> {
    json!({ "__type": error.code(), "message": error.message() })
        .to_string()
        .into_bytes()
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
