//! STS: who am I, and why may I not.

use std::sync::Arc;

use super::denial;
use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::api::params::Form;
use crate::api::xml::Xml;
use crate::state::world::ACCOUNT;

/// All that there are.
pub(crate) const ACTIONS: [&str; 2] = ["DecodeAuthorizationMessage", "GetCallerIdentity"];
pub(super) const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

pub(super) async fn answer(
    service: &Arc<Service>,
    form: Form,
    request_id: String,
) -> Result<Vec<u8>, ApiError> {
    let access_key = service.credentials.access_key_id.clone();
    service
        .perform(move |_| {
            let action = form.action().unwrap_or_default();
            let result = match action {
                "GetCallerIdentity" => Said::Identity {
                    // Users' ids begin with AIDA where their keys begin with AKIA.
                    user: access_key.replacen("AKIA", "AIDA", 1),
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
    Identity { user: String },
    Decoded(String),
}

impl Said {
    fn write(&self, xml: &mut Xml) {
        match self {
            Self::Identity { user } => {
                xml.text("Arn", denial::user_arn())
                    .text("UserId", user)
                    .text("Account", ACCOUNT);
            }
            Self::Decoded(document) => {
                xml.text("DecodedMessage", document);
            }
        }
    }
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
pub(super) fn error_document(error: &ApiError, request_id: &str) -> Vec<u8> {
    let at_fault = if error.status().is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    Xml::document("ErrorResponse", Some(NAMESPACE), |xml| {
        xml.group("Error", |xml| {
            xml.text("Type", at_fault)
                .text("Code", error.code())
                .text("Message", error.message());
        })
        .text("RequestId", request_id);
    })
}
