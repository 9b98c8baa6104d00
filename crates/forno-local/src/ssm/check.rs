//! What Systems Manager refuses before it does anything, in its own words.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::state::ids::Resource;

/// A refusal of the whole service's.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

/// Something that Systems Manager can do and this endpoint cannot.
pub(super) fn unsupported(what: impl Display) -> ApiError {
    invalid(format!("The pocket EC2 does not support {what}"))
}

fn constraint(at: &str, rule: impl Display) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value at '{at}' failed to satisfy constraint: {rule}"
    ))
}

/// A number within bounds.
pub(super) fn within<N: PartialOrd + Display + Copy>(
    at: &str,
    value: N,
    bounds: RangeInclusive<N>,
) -> Result<(), ApiError> {
    if value < *bounds.start() {
        let least = bounds.start();
        let rule = format!("Member must have value greater than or equal to {least}");
        return Err(constraint(at, rule));
    }
    if value > *bounds.end() {
        let most = bounds.end();
        let rule = format!("Member must have value less than or equal to {most}");
        return Err(constraint(at, rule));
    }
    Ok(())
}

/// A text or list of a length within bounds.
pub(super) fn length(
    at: &str,
    length: usize,
    bounds: RangeInclusive<usize>,
) -> Result<(), ApiError> {
    if length < *bounds.start() {
        let least = bounds.start();
        let rule = format!("Member must have length greater than or equal to {least}");
        return Err(constraint(at, rule));
    }
    if length > *bounds.end() {
        let most = bounds.end();
        let rule = format!("Member must have length less than or equal to {most}");
        return Err(constraint(at, rule));
    }
    Ok(())
}

/// One of some words.
pub(super) fn word(at: &str, word: &str, words: &[&str]) -> Result<(), ApiError> {
    if words.contains(&word) {
        return Ok(());
    }
    let rule = format!("Member must satisfy enum value set: [{}]", words.join(", "));
    Err(constraint(at, rule))
}

/// Any other form that the service's model has for a member.
pub(super) fn form(at: &str, fits: bool, pattern: &str) -> Result<(), ApiError> {
    if fits {
        return Ok(());
    }
    let rule = format!("Member must satisfy regular expression pattern: {pattern}");
    Err(constraint(at, rule))
}

/// An id of a managed node.
pub(super) fn node(at: &str, id: &str) -> Result<(), ApiError> {
    let hybrid = id
        .strip_prefix("mi-")
        .is_some_and(|rest| rest.len() == 17 && rest.bytes().all(|b| b.is_ascii_alphanumeric()));
    let instance = Resource::of(id) == Some(Resource::Instance);
    form(
        at,
        instance || hybrid,
        r"(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)",
    )
}

/// A time as JSON services write it.
pub(super) fn epoch(time: jiff::Timestamp) -> Value {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of this age are far below 2^53"
    )]
    let seconds = time.as_millisecond() as f64 / 1000.0;
    json!(seconds)
}
