//! STS: who am I, let me be another, and why may I not.

use std::sync::Arc;

use jiff::Timestamp;

use super::denial;
use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::api::params::Form;
use crate::api::xml::Xml;
use crate::sessions::Session;
use crate::state::world::ACCOUNT;

/// All that there are.
pub(crate) const ACTIONS: [&str; 3] = [
    "AssumeRole",
    "DecodeAuthorizationMessage",
    "GetCallerIdentity",
];
pub(super) const VERSION: &str = "2011-06-15";
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

pub(super) async fn answer(
    service: &Arc<Service>,
    form: Form,
    caller: String,
    request_id: String,
) -> Result<Vec<u8>, ApiError> {
    service
        .perform(move |service| {
            let action = form.action().unwrap_or_default();
            let result = match action {
                "AssumeRole" => Said::Session(Box::new(assume_role(service, &form, &caller)?)),
                "GetCallerIdentity" => match service.sessions.find(&caller) {
                    Some(session) => Said::Identity {
                        user_id: session.user_id,
                        arn: session.arn,
                    },
                    None => Said::Identity {
                        // Users' ids begin with AIDA where their keys begin with AKIA.
                        user_id: caller.replacen("AKIA", "AIDA", 1),
                        arn: denial::user_arn(),
                    },
                },
                "DecodeAuthorizationMessage" => Said::Decoded(decoded(&form)?),
                other => {
                    return Err(ApiError::new(
                        "InvalidAction",
                        format!("Could not find operation {other} for version {VERSION}"),
                    ));
                }
            };
            let body = Xml::document(&format!("{action}Response"), Some(NAMESPACE), |xml| {
                xml.group(&format!("{action}Result"), |xml| result.write(xml))
                    .group("ResponseMetadata", |xml| {
                        xml.text("RequestId", &request_id);
                    });
            });
            Ok(Performed {
                body,
                ..Performed::default()
            })
        })
        .await
}

enum Said {
    Identity { user_id: String, arn: String },
    Session(Box<Session>),
    Decoded(String),
}

impl Said {
    fn write(&self, xml: &mut Xml) {
        match self {
            Self::Identity { user_id, arn } => {
                xml.text("Arn", arn)
                    .text("UserId", user_id)
                    .text("Account", ACCOUNT);
            }
            Self::Session(session) => {
                xml.group("Credentials", |xml| {
                    xml.text("AccessKeyId", &session.access_key_id)
                        .text("SecretAccessKey", &session.secret_access_key)
                        .text("SessionToken", &session.token)
                        .text("Expiration", session.expires.strftime("%Y-%m-%dT%H:%M:%SZ"));
                })
                .group("AssumedRoleUser", |xml| {
                    xml.text("AssumedRoleId", &session.user_id)
                        .text("Arn", &session.arn);
                });
            }
            Self::Decoded(document) => {
                xml.text("DecodedMessage", document);
            }
        }
    }
}

/// Every role of the account with a well-formed name is there, and everybody may be it: no
/// IAM is behind it. What the call asks for is checked as STS checks it.
fn assume_role(service: &Service, form: &Form, caller: &str) -> Result<Session, ApiError> {
    let invalid = |why: String| ApiError::new("ValidationError", why);
    let params = form.root();
    let arn = params.require("RoleArn")?;
    let name = params.require("RoleSessionName")?;
    let role = arn
        .strip_prefix(&format!("arn:aws:iam::{ACCOUNT}:role/"))
        .filter(|role| is_word(role, "+=,.@-_/", 1..=512))
        .ok_or_else(|| {
            ApiError::new(
                "AccessDenied",
                format!(
                    "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                    denial::user_arn()
                ),
            )
            .with_status(http::StatusCode::FORBIDDEN)
        })?;
    if !is_word(name, "+=,.@-_", 2..=64) {
        return Err(invalid(format!(
            "Value '{name}' at 'roleSessionName' failed to satisfy constraint"
        )));
    }
    // A role that is assumed by a role lasts an hour at most.
    let is_chained = service.sessions.find(caller).is_some();
    let seconds = params.number("DurationSeconds")?.unwrap_or(3600);
    let longest = if is_chained { 3600 } else { 43_200 };
    if !(900..=longest).contains(&seconds) {
        return Err(invalid(format!(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role, or is below 900: {seconds}"
        )));
    }
    if let Some(id) = params.get("ExternalId")
        && !is_word(id, "+=,.@:/-_", 2..=1224)
    {
        return Err(invalid(format!(
            "Value '{id}' at 'externalId' failed to satisfy constraint"
        )));
    }
    if let Some(policy) = params.get("Policy")
        && serde_json::from_str::<serde_json::Value>(policy).is_err()
    {
        return Err(ApiError::new(
            "MalformedPolicyDocument",
            "The policy is not in the valid JSON format.",
        ));
    }
    match (params.get("SerialNumber"), params.get("TokenCode")) {
        (None, None) => {}
        (Some(_), Some(code)) if code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) => {
            // No device is behind it: this one code is always wrong.
            if code == "000000" {
                return Err(ApiError::new(
                    "AccessDenied",
                    "MultiFactorAuthentication failed with invalid MFA one time pass code.",
                )
                .with_status(http::StatusCode::FORBIDDEN));
            }
        }
        _ => {
            return Err(invalid(
                "SerialNumber and TokenCode, six digits, go together".to_owned(),
            ));
        }
    }
    let expires = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let role = role.rsplit('/').next().unwrap_or(role);
    Ok(service.sessions.begin(role, name, expires))
}

/// Letters, digits and some others.
fn is_word(text: &str, others: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn decoded(form: &Form) -> Result<String, ApiError> {
    let code = form.root().require("EncodedMessage").map(str::to_owned)?;
    denial::decode(&code).ok_or_else(|| {
        ApiError::new(
            "InvalidAuthorizationMessageException",
            "The message is invalid: it is not one of EC2's",
        )
    })
}

/// The document in which the older services say no.
pub(super) fn error_document(error: &ApiError, request_id: &str, namespace: &str) -> Vec<u8> {
    let at_fault = if error.status().is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    Xml::document("ErrorResponse", Some(namespace), |xml| {
        xml.group("Error", |xml| {
            xml.text("Type", at_fault)
                .text("Code", error.code())
                .text("Message", error.message());
        })
        .text("RequestId", request_id);
    })
}
