//! Refused signatures in the words of each service.

use http::StatusCode;

use crate::api::error::ApiError;
use crate::api::sigv4::Refusal;

/// Which protocol a request speaks; decides how it is answered, also when it
/// is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Ec2,
    Iam,
    Sts,
    Ssm,
    /// The upgrade to a data channel; refused as SSM refuses.
    SsmMessages,
}

impl Protocol {
    /// The name that a signature's scope must give.
    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Ssm => "ssm",
            Self::SsmMessages => "ssmmessages",
        }
    }

    pub(super) fn refuse(self, refusal: &Refusal) -> ApiError {
        match self {
            Self::Ec2 => ec2(refusal),
            Self::Iam | Self::Sts => sts(refusal),
            Self::Ssm => ssm(refusal),
            Self::SsmMessages => ssm(refusal).with_status(StatusCode::FORBIDDEN),
        }
    }

    /// The refusal of a request signed for another service or an unknown region.
    pub(super) fn wrong_scope(self, why: &str) -> ApiError {
        match self {
            Self::Ec2 => ApiError::new("AuthFailure", why).with_status(StatusCode::UNAUTHORIZED),
            Self::Iam | Self::Sts => {
                ApiError::new("SignatureDoesNotMatch", why).with_status(StatusCode::FORBIDDEN)
            }
            Self::Ssm => ApiError::new("InvalidSignatureException", why),
            Self::SsmMessages => {
                ApiError::new("InvalidSignatureException", why).with_status(StatusCode::FORBIDDEN)
            }
        }
    }
}

fn ec2(refusal: &Refusal) -> ApiError {
    let auth_failure = || {
        ApiError::new(
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        )
        .with_status(StatusCode::UNAUTHORIZED)
    };
    match refusal {
        Refusal::Unsigned => ApiError::new(
            "MissingAuthenticationToken",
            "The request must contain a valid (registered) AWS access key ID.",
        )
        .with_status(StatusCode::FORBIDDEN),
        Refusal::Incomplete(why) => ApiError::new("IncompleteSignature", why.clone()),
        Refusal::UnknownKey | Refusal::Mismatch | Refusal::TooEarly => auth_failure(),
        Refusal::Expired | Refusal::SessionEnded => {
            ApiError::new("RequestExpired", "Request has expired.")
        }
    }
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

const SESSION_ENDED: &str = "The security token included in the request is expired";

fn sts(refusal: &Refusal) -> ApiError {
    let (code, message) = match refusal {
        Refusal::Unsigned => (
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ),
        Refusal::Incomplete(why) => return ApiError::new("IncompleteSignature", why.clone()),
        Refusal::UnknownKey => (
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
        Refusal::SessionEnded => ("ExpiredToken", SESSION_ENDED),
        Refusal::Mismatch => ("SignatureDoesNotMatch", MISMATCH),
        Refusal::Expired => ("SignatureDoesNotMatch", "Signature expired"),
        Refusal::TooEarly => ("SignatureDoesNotMatch", "Signature not yet current"),
    };
    ApiError::new(code, message).with_status(StatusCode::FORBIDDEN)
}

fn ssm(refusal: &Refusal) -> ApiError {
    let (code, message) = match refusal {
        Refusal::Unsigned => (
            "MissingAuthenticationTokenException",
            "Request is missing Authentication Token",
        ),
        Refusal::Incomplete(why) => {
            return ApiError::new("IncompleteSignatureException", why.clone());
        }
        Refusal::UnknownKey => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        Refusal::SessionEnded => ("ExpiredTokenException", SESSION_ENDED),
        Refusal::Mismatch => ("InvalidSignatureException", MISMATCH),
        Refusal::Expired => ("InvalidSignatureException", "Signature expired"),
        Refusal::TooEarly => ("InvalidSignatureException", "Signature not yet current"),
    };
    ApiError::new(code, message)
}
