//! EC2 Query: a form in, XML out.

use std::sync::Arc;

use jiff::Timestamp;

use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::api::params::Form;
use crate::api::xml::Xml;
use crate::ec2::{Call, find, prepare_key};
use crate::faults::Marks;
use crate::state::regions::Region;

const VERSION: &str = "2016-11-15";
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

pub(super) async fn answer(
    service: &Arc<Service>,
    form: Form,
    region: Region,
    request_id: String,
    marks: Marks,
) -> Result<Vec<u8>, ApiError> {
    let name = form
        .action()
        .ok_or_else(|| {
            ApiError::new(
                "MissingAction",
                "The request must contain the parameter Action",
            )
        })?
        .to_owned();
    tracing::debug!(action = name, region = region.name, "called");
    let action = find(&name).ok_or_else(|| {
        ApiError::new(
            "InvalidAction",
            format!("The action {name} is not valid for this web service."),
        )
    })?;
    match form.version() {
        Some(VERSION) => {}
        None => return Err(ApiError::missing("Version")),
        Some(other) => {
            return Err(ApiError::new(
                "NoSuchVersion",
                format!("The requested version ({other}) of service AmazonEC2 does not exist"),
            ));
        }
    }
    service
        .perform(move |service| {
            let made_key = prepare_key(&form)?;
            service.store.change(|world| {
                let mut world = service.regime.veil(world, region.name, &name);
                let hide = marks.hide;
                let known = (!hide.is_zero()).then(|| world.ids());
                let now = Timestamp::now();
                let mut call = Call::new(&form, region, &mut world, &service.fleet, now)?;
                call.made_key = made_key;
                let mut result = Ok(());
                let body = Xml::document(&format!("{name}Response"), Some(NAMESPACE), |xml| {
                    xml.text("requestId", &request_id);
                    result = action(&mut call, xml);
                });
                result?;
                let outcome = call.finish()?;
                if let Some(known) = known {
                    let made = world.ids().into_iter().filter(|id| !known.contains(id));
                    service.regime.hide(made, hide);
                }
                Ok(Performed {
                    body,
                    changed: outcome.changed,
                    orders: outcome.orders,
                    marks,
                })
            })
        })
        .await
}

/// The document in which EC2 says no.
pub(super) fn error_document(error: &ApiError, request_id: &str) -> Vec<u8> {
    Xml::document("Response", None, |xml| {
        xml.group("Errors", |xml| {
            xml.group("Error", |xml| {
                xml.text("Code", error.code())
                    .text("Message", error.message());
            });
        })
        .text("RequestID", request_id);
    })
}
