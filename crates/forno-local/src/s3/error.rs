//! S3's own codes with their statuses, and the document in which it says no.

use http::StatusCode;

use crate::api::error::ApiError;
use crate::api::sigv4::Refusal;
use crate::api::xml::Xml;

pub(super) fn no_such_bucket() -> ApiError {
    not_found("NoSuchBucket", "The specified bucket does not exist")
}

pub(super) fn no_such_key() -> ApiError {
    not_found("NoSuchKey", "The specified key does not exist.")
}

pub(super) fn no_such_upload() -> ApiError {
    not_found(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
         completed.",
    )
}

pub(super) fn not_found(code: &'static str, message: &str) -> ApiError {
    ApiError::new(code, message).with_status(StatusCode::NOT_FOUND)
}

pub(super) fn invalid_argument(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidArgument", message)
}

pub(super) fn invalid_request(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidRequest", message)
}

pub(super) fn malformed(what: &str) -> ApiError {
    ApiError::new(
        "MalformedXML",
        format!(
            "The XML you provided was not well-formed or did not validate against our published schema: {what}"
        ),
    )
}

pub(super) fn bad_digest(what: &str) -> ApiError {
    ApiError::new(
        "BadDigest",
        format!("The {what} you specified did not match what we received."),
    )
}

/// Something that S3 can do and this endpoint cannot.
pub(super) fn not_implemented(what: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        "NotImplemented",
        format!("The pocket EC2 does not support {what}"),
    )
    .with_status(StatusCode::NOT_IMPLEMENTED)
}

pub(super) fn precondition(which: &str) -> ApiError {
    ApiError::new(
        "PreconditionFailed",
        format!("At least one of the pre-conditions you specified did not hold: {which}"),
    )
    .with_status(StatusCode::PRECONDITION_FAILED)
}

pub(super) fn internal(what: &str, error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(format!("{what}: {error}"))
}

/// A signature that is not believed.
pub(crate) fn refuse(refusal: &Refusal) -> ApiError {
    let (code, message) = match refusal {
        Refusal::Unsigned => ("AccessDenied", "Access Denied"),
        Refusal::Incomplete(why) => {
            return ApiError::new("AuthorizationHeaderMalformed", why.clone());
        }
        Refusal::UnknownKey => (
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        Refusal::Mismatch => (
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and \
             signing method.",
        ),
        Refusal::SessionEnded => ("ExpiredToken", "The provided token has expired."),
        Refusal::Expired => ("AccessDenied", "Request has expired"),
        Refusal::TooEarly => (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
    };
    ApiError::new(code, message).with_status(StatusCode::FORBIDDEN)
}

/// The document in which S3 says no.
pub(crate) fn document(error: &ApiError, resource: &str, request_id: &str) -> Vec<u8> {
    Xml::document("Error", None, |xml| {
        xml.text("Code", error.code())
            .text("Message", error.message())
            .text("Resource", resource)
            .text("RequestId", request_id)
            .text("HostId", "forno");
    })
}
