//! The EBS direct APIs: their requests are known by what they are signed for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;

use super::dispatch::{Answer, Service};
use super::http::signed;
use super::line::Line;
use crate::api::error::ApiError;
use crate::api::sigv4::{self, Refusal, Scope};
use crate::ebs::{self, Operation, Request};
use crate::faults::{Asked, Marks, ServiceName};
use crate::s3::Request as Object;
use crate::state::regions::Region;

/// The name that a signature's scope must give.
pub(super) const SCOPE: &str = "ebs";

/// A block, and what a client may say besides.
const LARGEST_BODY: usize = 1024 * 1024;

/// How long a client may take to send one.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn answer(
    service: Arc<Service>,
    parts: Parts,
    body: Body,
    line: &Line,
) -> Response {
    let request_id = uuid::Uuid::new_v4().to_string();
    let body = axum::body::to_bytes(body, LARGEST_BODY);
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let (operation, request) = match read(&service, parts, &body) {
        Ok(read) => read,
        Err(error) => return refused(&error, &request_id),
    };
    let asked = Asked {
        service: ServiceName::Ebs,
        region: request.region.name,
        action: operation.name().to_owned(),
        parameters: request.parameters(),
        request_id: request_id.clone(),
    };
    let worker = Arc::clone(&service);
    let work = async move |marks: Marks| {
        let request = Request { marks, ..request };
        operation.carry_out(&worker, request).await
    };
    match service.dispatch(asked, work).await {
        Answer::Reply(Ok(reply)) => sign_off(reply.into_response(), &request_id),
        Answer::Reply(Err(error)) => refused(&error, &request_id),
        Answer::Reset => {
            line.cut();
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn read(service: &Service, parts: Parts, body: &[u8]) -> Result<(Operation, Request), ApiError> {
    let scope = believe(service, &parts, body).map_err(|refusal| ebs::refuse(&refusal))?;
    let wrong =
        |why| ApiError::new("InvalidSignatureException", why).with_status(StatusCode::FORBIDDEN);
    if scope.service != SCOPE {
        let why = format!("Credential should be scoped to correct service: '{SCOPE}'.");
        return Err(wrong(why));
    }
    let region = Region::find(&scope.region).ok_or_else(|| {
        let given = &scope.region;
        wrong(format!(
            "Credential should be scoped to a valid region, not '{given}'."
        ))
    })?;
    let (operation, snapshot, block) = Operation::find(&parts.method, parts.uri.path())?;
    let request = Request {
        region,
        snapshot: snapshot.to_owned(),
        block: block.to_owned(),
        query: Object::query_of(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        body: body.to_vec(),
        marks: Marks::default(),
    };
    Ok((operation, request))
}

/// Whose request it is. A block may be sent without its hash being signed: it has a checksum
/// of its own.
fn believe(service: &Service, parts: &Parts, body: &[u8]) -> Result<Scope, Refusal> {
    let (keys, now) = (service.everybody(), Timestamp::now());
    match sigv4::verify(signed(parts, body), &keys, now) {
        Err(Refusal::Mismatch) if parts.method == Method::PUT => {
            let mut headers = parts.headers.clone();
            let unsigned = HeaderValue::from_static(sigv4::UNSIGNED);
            headers.insert("x-amz-content-sha256", unsigned);
            let request = sigv4::Request {
                headers: &headers,
                ..signed(parts, b"")
            };
            sigv4::verify_stated(request, &keys, now).map(|stated| stated.scope)
        }
        verdict => verdict,
    }
}

fn refused(error: &ApiError, request_id: &str) -> Response {
    tracing::debug!(code = error.code(), message = error.message(), "refused");
    let mut response = (error.status(), ebs::error_document(error)).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Ok(exception) = HeaderValue::from_str(ebs::exception(error)) {
        headers.insert("x-amzn-errortype", exception);
    }
    sign_off(response, request_id)
}

fn sign_off(mut response: Response, request_id: &str) -> Response {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
