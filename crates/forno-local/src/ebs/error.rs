//! The exceptions of the EBS direct APIs: each with a reason beside its message.

use http::StatusCode;
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::sigv4::Refusal;

pub(super) fn validation(reason: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message).with_reason(reason)
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    validation("INVALID_PARAMETER_VALUE", message)
}

pub(super) fn no_snapshot(id: &str) -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        format!("The snapshot '{id}' does not exist."),
    )
    .with_reason("SNAPSHOT_NOT_FOUND")
    .with_status(StatusCode::NOT_FOUND)
}

pub(super) fn denied(message: impl Into<String>) -> ApiError {
    ApiError::new("AccessDeniedException", message)
        .with_reason("UNAUTHORIZED_ACCOUNT")
        .with_status(StatusCode::FORBIDDEN)
}

pub(super) fn conflict() -> ApiError {
    ApiError::new(
        "ConflictException",
        "The client token was used for another snapshot",
    )
    .with_status(StatusCode::CONFLICT)
}

pub(super) fn internal(what: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::new("InternalServerException", format!("{what}: {why}"))
        .with_status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A signature that is not believed.
pub(crate) fn refuse(refusal: &Refusal) -> ApiError {
    let (code, message) = match refusal {
        Refusal::Unsigned => (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        Refusal::Incomplete(why) => {
            return ApiError::new("IncompleteSignatureException", why.clone())
                .with_status(StatusCode::FORBIDDEN);
        }
        Refusal::UnknownKey => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        Refusal::SessionEnded => (
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        Refusal::Mismatch => (
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
        ),
        Refusal::Expired => ("InvalidSignatureException", "Signature expired"),
        Refusal::TooEarly => ("InvalidSignatureException", "Signature not yet current"),
    };
    ApiError::new(code, message).with_status(StatusCode::FORBIDDEN)
}

/// The name of the exception, which a header carries: what goes wrong within the endpoint
/// is called otherwise elsewhere.
pub(crate) fn exception(error: &ApiError) -> &str {
    match error.code() {
        "InternalError" => "InternalServerException",
        code => code,
    }
}

/// The document in which the service says no.
pub(crate) fn document(error: &ApiError) -> Vec<u8> {
    let mut said = json!({ "Message": error.message() });
    if let Some(reason) = error.reason() {
        said["Reason"] = reason.into();
    }
    said.to_string().into_bytes()
}
