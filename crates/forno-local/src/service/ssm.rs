//! SSM's JSON 1.1: a target and a document in, a document out.

use std::sync::Arc;

use serde_json::json;

use super::dispatch::{Performed, Service};
use crate::api::error::ApiError;
use crate::faults::Marks;
use crate::ssm::{Call, find};
use crate::state::regions::Region;

pub(super) async fn answer(
    service: &Arc<Service>,
    target: String,
    body: Vec<u8>,
    region: Region,
    marks: Marks,
) -> Result<Vec<u8>, ApiError> {
    let operation = target.strip_prefix("AmazonSSM.").and_then(find);
    let operation = operation.ok_or_else(|| {
        ApiError::new(
            "UnknownOperationException",
            format!("The pocket EC2 does not know the operation {target}"),
        )
    })?;
    let shared = Arc::clone(service);
    service
        .perform(move |_| {
            let reply = operation(&Call {
                service: &shared,
                region,
                marks,
                body: &body,
            })?;
            Ok(Performed {
                body: reply.body.to_string().into_bytes(),
                changed: reply.changed,
                ..Performed::default()
            })
        })
        .await
}

/// The document in which JSON services say no.
pub(super) fn error_document(error: &ApiError) -> Vec<u8> {
    json!({ "__type": error.code(), "message": error.message() })
        .to_string()
        .into_bytes()
}
