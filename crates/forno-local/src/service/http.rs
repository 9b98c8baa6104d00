//! The HTTP side: who answers on which path, sizes bounded, every request's signature checked
//! before anything else is done with it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;

use super::auth::Protocol;
use super::dispatch::{Answer, Service};
use super::line::Line;
use super::s3::{self, Door};
use super::{admin, channel, ebs, ec2, iam, ssm, sts};
use crate::api::error::ApiError;
use crate::api::params::Form;
use crate::api::sigv4;
use crate::faults::{Asked, Marks, ServiceName};
use crate::state::regions::Region;

/// User data in base64, twice URL-encoded, with room to spare.
const LARGEST_BODY: usize = 256 * 1024;

/// How long a client may take to send one.
const PATIENCE: Duration = Duration::from_mins(1);

/// All services on one address.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new().fallback(answer).with_state(service)
}

/// What machines reach: objects, by presigned requests.
pub(crate) fn machine_router(service: Arc<Service>) -> Router {
    Router::new().fallback(answer_machine).with_state(service)
}

async fn answer_machine(
    State(service): State<Arc<Service>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    s3::answer(service, parts, body, &line, Door::Machine).await
}

async fn answer(
    State(service): State<Arc<Service>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with(crate::channel::ROOT) {
        return channel::answer(service, parts, &line).await;
    }
    if is_signed_for(&parts, ebs::SCOPE) {
        return ebs::answer(service, parts, body, &line).await;
    }
    let ours = parts.uri.path().starts_with(admin::ROOT);
    if !ours && (parts.uri.path() != "/" || is_signed_for(&parts, s3::SCOPE)) {
        return s3::answer(service, parts, body, &line, Door::Host).await;
    }
    if !ours && parts.method != Method::POST && parts.method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    // One that says that it is too long is not waited for.
    if announced(&parts).is_some_and(|length| length > LARGEST_BODY) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let body = axum::body::to_bytes(body, LARGEST_BODY);
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    if ours {
        let request = signed(&parts, &body);
        return admin::answer(&service, request, &parts.method, Timestamp::now());
    }
    let request_id = uuid::Uuid::new_v4().to_string();
    let query = parts.uri.query().unwrap_or_default();
    let form = Form::decode(query, if is_json(&parts) { b"" } else { &body });
    let protocol = protocol(&parts, form.as_ref().ok());
    let (region, caller) = match believe(&service, &parts, &body, protocol) {
        Ok(believed) => believed,
        Err(error) => return reply(protocol, Err(error), &request_id),
    };
    let call = match (protocol, form) {
        (Protocol::Ssm | Protocol::SsmMessages, _) => Call::Json {
            target: target(&parts).to_owned(),
            body: body.to_vec(),
        },
        (Protocol::Ec2 | Protocol::Iam | Protocol::Sts, Ok(form)) => Call::Query(form),
        (Protocol::Ec2 | Protocol::Iam | Protocol::Sts, Err(error)) => {
            return reply(protocol, Err(error), &request_id);
        }
    };
    let asked = call.asked(protocol, region, &request_id);
    let worker = Arc::clone(&service);
    let id = request_id.clone();
    let work = move |marks| call.carry_out(worker, protocol, region, caller, id, marks);
    match service.dispatch(asked, work).await {
        Answer::Reply(result) => reply(protocol, result, &request_id),
        Answer::Reset => {
            line.cut();
            // Never written: the connection ends where it would be.
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A call in the form of its protocol.
enum Call {
    Query(Form),
    Json { target: String, body: Vec<u8> },
}

impl Call {
    /// What plans of faults and the log see of it.
    fn asked(&self, protocol: Protocol, region: Region, request_id: &str) -> Asked {
        let (action, parameters) = match self {
            Self::Query(form) => (form.action().unwrap_or_default(), form.parameters().clone()),
            Self::Json { target, body } => (
                target.rsplit('.').next().unwrap_or_default(),
                crate::ssm::members(body),
            ),
        };
        Asked {
            service: match protocol {
                Protocol::Ec2 => ServiceName::Ec2,
                Protocol::Iam => ServiceName::Iam,
                Protocol::Sts => ServiceName::Sts,
                Protocol::Ssm => ServiceName::Ssm,
                Protocol::SsmMessages => ServiceName::SsmMessages,
            },
            region: region.name,
            action: action.to_owned(),
            parameters,
            request_id: request_id.to_owned(),
        }
    }

    async fn carry_out(
        self,
        service: Arc<Service>,
        protocol: Protocol,
        region: Region,
        caller: String,
        request_id: String,
        marks: Marks,
    ) -> Result<Vec<u8>, ApiError> {
        match self {
            Self::Json { target, body } => ssm::answer(&service, target, body, region, marks).await,
            Self::Query(form) if protocol == Protocol::Sts => {
                sts::answer(&service, form, caller, request_id).await
            }
            Self::Query(form) if protocol == Protocol::Iam => {
                iam::answer(&service, form, request_id).await
            }
            Self::Query(form) => ec2::answer(&service, form, region, request_id, marks).await,
        }
    }
}

fn announced(parts: &Parts) -> Option<usize> {
    let length = parts.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn target(parts: &Parts) -> &str {
    parts
        .headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default()
}

fn is_json(parts: &Parts) -> bool {
    parts.headers.contains_key("x-amz-target")
}

fn protocol(parts: &Parts, form: Option<&Form>) -> Protocol {
    if is_json(parts) {
        return Protocol::Ssm;
    }
    match form.and_then(Form::version) {
        Some(sts::VERSION) => Protocol::Sts,
        Some(iam::VERSION) => Protocol::Iam,
        _ => Protocol::Ec2,
    }
}

/// Whether a request says that it is signed for a service.
fn is_signed_for(parts: &Parts, service: &str) -> bool {
    let scoped = |credential: &str| credential.contains(&format!("/{service}/aws4_request"));
    match parts.headers.get(header::AUTHORIZATION) {
        Some(value) => value.to_str().is_ok_and(scoped),
        None => crate::s3::Request::query_of(parts.uri.query().unwrap_or_default())
            .get("X-Amz-Credential")
            .is_some_and(|credential| scoped(credential)),
    }
}

/// What of a request is signed.
pub(super) fn signed<'a>(parts: &'a Parts, body: &'a [u8]) -> sigv4::Request<'a> {
    sigv4::Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    }
}

/// Checks the signature; returns the region that the request is for, and the access key
/// of the caller.
pub(super) fn believe(
    service: &Service,
    parts: &Parts,
    body: &[u8],
    protocol: Protocol,
) -> Result<(Region, String), ApiError> {
    let scope = sigv4::verify(signed(parts, body), &service.everybody(), Timestamp::now())
        .map_err(|refusal| protocol.refuse(&refusal))?;
    if scope.service != protocol.scope() {
        let why = format!(
            "Credential should be scoped to correct service: '{}'.",
            protocol.scope()
        );
        return Err(protocol.wrong_scope(&why));
    }
    let region = Region::find(&scope.region).ok_or_else(|| {
        protocol.wrong_scope(&format!(
            "Credential should be scoped to a valid region, not '{}'.",
            scope.region
        ))
    })?;
    Ok((region, scope.access_key))
}

pub(super) fn reply(
    protocol: Protocol,
    result: Result<Vec<u8>, ApiError>,
    request_id: &str,
) -> Response {
    let kind = match protocol {
        Protocol::Ec2 | Protocol::Iam | Protocol::Sts => "text/xml;charset=UTF-8",
        Protocol::Ssm | Protocol::SsmMessages => "application/x-amz-json-1.1",
    };
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => {
            tracing::debug!(code = error.code(), message = error.message(), "refused");
            let document = match protocol {
                Protocol::Ec2 => ec2::error_document(&error, request_id),
                Protocol::Iam => sts::error_document(&error, request_id, iam::NAMESPACE),
                Protocol::Sts => sts::error_document(&error, request_id, sts::NAMESPACE),
                Protocol::Ssm | Protocol::SsmMessages => ssm::error_document(&error),
            };
            (error.status(), document)
        }
    };
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
