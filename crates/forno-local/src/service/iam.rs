//! IAM Query: a form in, XML out.

use std::sync::Arc;

use jiff::Timestamp;

use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::api::params::Form;
use crate::api::xml::Xml;
use crate::iam::{Call, find, has_result};

pub(super) const VERSION: &str = "2010-05-08";
pub(super) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

pub(super) async fn answer(
    service: &Arc<Service>,
    form: Form,
    request_id: String,
) -> Result<Vec<u8>, ApiError> {
    let name = form.action().unwrap_or_default().to_owned();
    let action = find(&name).ok_or_else(|| {
        ApiError::new(
            "InvalidAction",
            format!("Could not find operation {name} for version {VERSION}"),
        )
    })?;
    service
        .perform(move |service| {
            service.store.change(|world| {
                let mut call = Call {
                    form: &form,
                    params: form.root(),
                    iam: &mut world.iam,
                    now: Timestamp::now(),
                    changed: false,
                };
                let mut result = Ok(());
                let body = Xml::document(&format!("{name}Response"), Some(NAMESPACE), |xml| {
                    if has_result(&name) {
                        xml.group(&format!("{name}Result"), |xml| {
                            result = action(&mut call, xml);
                        });
                    } else {
                        result = action(&mut call, xml);
                    }
                    xml.group("ResponseMetadata", |xml| {
                        xml.text("RequestId", &request_id);
                    });
                });
                result?;
                if !call.changed {
                    call.refuse_unread()?;
                }
                Ok(Performed {
                    body,
                    changed: call.changed,
                    ..Performed::default()
                })
            })
        })
        .await
}
