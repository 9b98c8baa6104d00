//! What is told of parameters.

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Old, Written, below};
use crate::api::error::ApiError;
use crate::ssm::call::{Call, Reply};
use crate::ssm::check::{self, epoch, invalid};
use crate::state::parameters::{Missing, Parameter, find_parameter, parameters};
use crate::state::regions::Region;
use crate::state::world::{ACCOUNT, OwnParameter};

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
    #[serde(default)]
    parameter_filters: Vec<Written>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(rename = "WithDecryption")]
    _with_decryption: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DescribeParameters {
    #[serde(default)]
    filters: Vec<Old>,
    #[serde(default)]
    parameter_filters: Vec<Written>,
    max_results: Option<usize>,
    next_token: Option<String>,
    shared: Option<bool>,
}

pub(in crate::ssm) fn get_parameter(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: GetParameter = call.input()?;
    let found = call.look(|state| find_parameter(state, &input.name));
    let found = found.map_err(|missing| match missing {
        Missing::Parameter => ApiError::new("ParameterNotFound", ""),
        Missing::Version => ApiError::new(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find version {} of {}. Verify the version and try again.",
                input.name.rsplit(':').next().unwrap_or_default(),
                input.name.split(':').next().unwrap_or_default(),
            ),
        ),
    })?;
    Ok(Reply::of(json!({ "Parameter": show(&found, call.region) })))
}

pub(in crate::ssm) fn get_parameters(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: GetParameters = call.input()?;
    check::length("names", input.names.len(), 1..=MOST)?;
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    call.look(|state| {
        for name in &input.names {
            match find_parameter(state, name) {
                Ok(parameter) => found.push(show(&parameter, call.region)),
                Err(_) => unknown.push(name),
            }
        }
    });
    Ok(Reply::of(
        json!({ "Parameters": found, "InvalidParameters": unknown }),
    ))
}

pub(in crate::ssm) fn get_parameters_by_path(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: GetParametersByPath = call.input()?;
    if !input.path.starts_with('/') {
        return Err(invalid("The parameter path must begin with a slash"));
    }
    let filters = filters::read(input.parameter_filters, &["Type", "KeyId", "Label"])?;
    let recursive = input.recursive.unwrap_or(false);
    let page = call.page(input.max_results, input.next_token.as_deref(), 1..=MOST)?;
    let found: Vec<Parameter> = call.look(|state| {
        let all = parameters(state).into_iter();
        all.filter(|parameter| {
            let own = state.parameters.get(&parameter.name);
            below(&parameter.name, &input.path, recursive)
                && filters.iter().all(|filter| filter.matches(parameter, own))
        })
        .collect()
    });
    let (found, next) = page.cut(found, |parameter| parameter.name.clone());
    let shown = found.iter().map(|one| show(one, call.region)).collect();
    Ok(Reply::paged("Parameters", shown, next))
}

/// Tells of parameters of one's own, not of public ones.
pub(in crate::ssm) fn describe_parameters(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: DescribeParameters = call.input()?;
    if !input.filters.is_empty() && !input.parameter_filters.is_empty() {
        return Err(invalid(
            "Filters and ParameterFilters cannot both be specified",
        ));
    }
    let mut filters = filters::read_old(input.filters)?;
    let known = [
        "Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType", "tag:",
    ];
    filters.extend(filters::read(input.parameter_filters, &known)?);
    let page = call.page(input.max_results, input.next_token.as_deref(), 1..=50)?;
    let found: Vec<(String, Value)> = call.look(|state| {
        // Nobody shares any.
        let all = parameters(state)
            .into_iter()
            .filter(|_| input.shared != Some(true));
        all.filter_map(|parameter| {
            let own = state.parameters.get(&parameter.name)?;
            let wanted = filters
                .iter()
                .all(|filter| filter.matches(&parameter, Some(own)));
            wanted.then(|| (own.name.clone(), describe(&parameter, own, call.region)))
        })
        .collect()
    });
    let (found, next) = page.cut(found, |(name, _)| name.clone());
    let shown = found.into_iter().map(|(_, shown)| shown).collect();
    Ok(Reply::paged("Parameters", shown, next))
}

fn arn(parameter: &Parameter, region: Region) -> String {
    let owner = if parameter.own { ACCOUNT } else { "" };
    let name = parameter.name.trim_start_matches('/');
    format!("arn:aws:ssm:{}:{owner}:parameter/{name}", region.name)
}

fn show(parameter: &Parameter, region: Region) -> Value {
    let mut shown = json!({
        "Name": parameter.name,
        "Type": parameter.kind,
        "Value": parameter.value,
        "Version": parameter.version,
        "LastModifiedDate": epoch(parameter.modified),
        "ARN": arn(parameter, region),
        "DataType": parameter.data_type,
    });
    if let Some(selector) = &parameter.selector {
        shown["Selector"] = json!(selector);
    }
    shown
}

fn describe(parameter: &Parameter, own: &OwnParameter, region: Region) -> Value {
    let mut shown = json!({
        "Name": parameter.name,
        "ARN": arn(parameter, region),
        "Type": parameter.kind,
        "LastModifiedDate": epoch(parameter.modified),
        "LastModifiedUser": format!("arn:aws:iam::{ACCOUNT}:user/forno"),
        "Version": parameter.version,
        "Tier": own.tier,
        "Policies": [],
        "DataType": parameter.data_type,
    });
    if let Some(description) = &own.description {
        shown["Description"] = json!(description);
    }
    shown
}
