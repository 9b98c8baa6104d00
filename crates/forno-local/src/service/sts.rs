//! STS: who am I.

use std::sync::Arc;

use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::api::params::Form;
use crate::api::xml::Xml;
use crate::state::world::ACCOUNT;

/// The one that there is.
pub(crate) const ACTION: &str = "GetCallerIdentity";
pub(super) const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

pub(super) async fn answer(
    service: &Arc<Service>,
    form: Form,
    request_id: String,
) -> Result<Vec<u8>, ApiError> {
    match form.action() {
        Some(ACTION) => {}
        other => {
            return Err(ApiError::new(
                "InvalidAction",
                format!(
                    "Could not find operation {} for version {VERSION}",
                    other.unwrap_or_default()
                ),
            ));
        }
    }
    let access_key = service.credentials.access_key_id.clone();
    service
        .perform(move |_| {
            let body = Xml::document("GetCallerIdentityResponse", Some(NAMESPACE), |xml| {
                xml.group("GetCallerIdentityResult", |xml| {
                    xml.text("Arn", format!("arn:aws:iam::{ACCOUNT}:user/forno"))
                        // Users' ids begin with AIDA where their keys begin with AKIA.
                        .text("UserId", access_key.replacen("AKIA", "AIDA", 1))
                        .text("Account", ACCOUNT);
                })
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
