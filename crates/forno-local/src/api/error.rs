//! Errors as a client of the endpoint sees them: a documented code, a message
//! and an HTTP status. How they are written down differs by protocol and is
//! decided where the reply is rendered.

use std::borrow::Cow;

use http::StatusCode;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    code: Cow<'static, str>,
    message: String,
    status: StatusCode,
    reason: Option<&'static str>,
}

impl ApiError {
    /// A refusal with status 400, which is what nearly all of EC2's are.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            status: StatusCode::BAD_REQUEST,
            reason: None,
        }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What a service says besides its code, where it does.
    pub(crate) fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn missing(name: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    pub(crate) fn invalid_value(value: &str, name: &str, why: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!(
                "Value ({value}) for parameter {name} is invalid. {}",
                sentence(why)
            ),
        )
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub(crate) fn malformed_query(message: impl Into<String>) -> Self {
        Self::new("MalformedQueryString", message)
    }

    /// Something that EC2 can do and this endpoint cannot.
    pub(crate) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(
            "Unsupported",
            format!("The pocket EC2 does not support {what}"),
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new("InternalError", message).with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn dry_run() -> Self {
        Self::new(
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        )
        .with_status(StatusCode::PRECONDITION_FAILED)
    }
}

/// Messages of EC2 are sentences; reasons inside this crate are fragments.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}
