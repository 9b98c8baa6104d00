//! S3: its requests are known by their path or by what they are signed for, are
//! believed by their head, and bring and take bodies of any length.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;

use super::dispatch::{Answer, Service};
use super::line::Line;
use crate::api::error::ApiError;
use crate::api::sigv4;
use crate::faults::{Asked, ServiceName};
use crate::s3::{self, Address, Operation, Request};
use crate::state::regions::Region;

/// The name that a signature's scope must give.
pub(super) const SCOPE: &str = "s3";

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The endpoint's own address.
    Host,
    /// From inside a machine. There is no key there: it may only follow an URL
    /// of an object that somebody has signed for it.
    Machine,
}

pub(super) async fn answer(
    service: Arc<Service>,
    parts: Parts,
    body: Body,
    line: &Line,
    door: Door,
) -> Response {
    let request_id = uuid::Uuid::new_v4().simple().to_string();
    let (head_only, path) = (parts.method == Method::HEAD, parts.uri.path().to_owned());
    let refused = |service: &Service, error: &ApiError| {
        tracing::debug!(code = error.code(), message = error.message(), "refused");
        let document = if head_only {
            Vec::new()
        } else {
            s3::error_document(error, &path, &request_id)
        };
        let mut response = (error.status(), document).into_response();
        let kind = HeaderValue::from_static("application/xml");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if error.code() == "PermanentRedirect"
            && let Some(region) = home(service, &path)
        {
            response.headers_mut().insert("x-amz-bucket-region", region);
        }
        response
    };
    let (operation, request) = match read(&service, parts, body, door) {
        Ok(read) => read,
        Err(error) => return sign_off(refused(&service, &error), &request_id),
    };
    let asked = Asked {
        service: ServiceName::S3,
        region: request.region.name,
        action: operation.name().to_owned(),
        parameters: request.parameters(),
        request_id: request_id.clone(),
    };
    let worker = Arc::clone(&service);
    let work = async move |_| operation.carry_out(&worker, request).await;
    match service.dispatch(asked, work).await {
        Answer::Reply(Ok(reply)) => sign_off(reply.into_response(), &request_id),
        Answer::Reply(Err(error)) => sign_off(refused(&service, &error), &request_id),
        Answer::Reset => {
            line.cut();
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Believes a request or not, and takes it apart.
fn read(
    service: &Service,
    parts: Parts,
    body: Body,
    door: Door,
) -> Result<(Operation, Request), ApiError> {
    let head = sigv4::Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: b"",
    };
    let query = Request::query_of(head.query);
    let signed = match sigv4::verify_stated(head, &service.everybody(), Timestamp::now()) {
        Ok(signed) => signed,
        // Signed as it was done before 2012, which some clients still do.
        Err(sigv4::Refusal::Unsigned) if query.contains_key("AWSAccessKeyId") => {
            return Err(ApiError::new(
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ));
        }
        Err(refusal) => return Err(s3::refuse(&refusal)),
    };
    let malformed = |why: String| ApiError::new("AuthorizationHeaderMalformed", why);
    if signed.scope.service != SCOPE {
        return Err(malformed(format!(
            "The authorization header is malformed; incorrect service \"{}\". This endpoint belongs to \"{SCOPE}\".",
            signed.scope.service
        )));
    }
    let region = Region::find(&signed.scope.region).ok_or_else(|| {
        malformed(format!(
            "The authorization header is malformed; the region '{}' is wrong",
            signed.scope.region
        ))
    })?;
    let address = Address::read(parts.uri.path())?;
    let presigned = !parts.headers.contains_key(header::AUTHORIZATION);
    if door == Door::Machine && !(presigned && matches!(address, Address::Object { .. })) {
        return Err(
            ApiError::new("AccessDenied", "Access Denied").with_status(StatusCode::FORBIDDEN)
        );
    }
    let operation = Operation::find(&parts.method, &address, &query)?;
    let request = Request {
        region,
        address,
        query,
        headers: parts.headers,
        signed,
        body,
    };
    Ok((operation, request))
}

/// The region of the bucket that a path names.
fn home(service: &Service, path: &str) -> Option<HeaderValue> {
    let bucket = path.split('/').nth(1)?;
    let region = service.store.read(|world| {
        let bucket = world.buckets.get(bucket)?;
        Some(bucket.region.clone())
    })?;
    HeaderValue::from_str(&region).ok()
}

fn sign_off(mut response: Response, request_id: &str) -> Response {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    let host = HeaderValue::from_static("forno");
    response.headers_mut().insert("x-amz-id-2", host);
    response
}
