//! Parameter Store: enough of it to resolve Debian's public parameters.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, Reply};
use crate::api::error::ApiError;
use crate::state::parameters::{Parameter, parameters};
use crate::state::regions::Region;

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

pub(super) fn get_parameter(call: &Call<'_>) -> Result<Reply, ApiError> {
    let (input, known): (GetParameter, _) = (call.input()?, known(call));
    let found = known.iter().find(|parameter| parameter.name == input.name);
    let found = found.ok_or_else(|| ApiError::new("ParameterNotFound", ""))?;
    Ok(Reply::of(json!({ "Parameter": show(found, call.region) })))
}

pub(super) fn get_parameters(call: &Call<'_>) -> Result<Reply, ApiError> {
    let (input, known): (GetParameters, _) = (call.input()?, known(call));
    if input.names.is_empty() || input.names.len() > MOST {
        return Err(ApiError::new(
            "ValidationException",
            format!("names must have between 1 and {MOST} members"),
        ));
    }
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in &input.names {
        match known.iter().find(|parameter| parameter.name == *name) {
            Some(parameter) => found.push(show(parameter, call.region)),
            None => invalid.push(name),
        }
    }
    Ok(Reply::of(
        json!({ "Parameters": found, "InvalidParameters": invalid }),
    ))
}

pub(super) fn get_parameters_by_path(call: &Call<'_>) -> Result<Reply, ApiError> {
    let (input, known): (GetParametersByPath, _) = (call.input()?, known(call));
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
    let mut reply = json!({ "Parameters": found.iter().map(|parameter| show(parameter, call.region)).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        reply["NextToken"] = json!(last.name);
    }
    Ok(Reply::of(reply))
}

fn known(call: &Call<'_>) -> Vec<Parameter> {
    call.service
        .store
        .read(|world| world.regions.get(call.region.name).map(parameters))
        .unwrap_or_default()
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
