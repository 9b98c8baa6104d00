//! What is no AWS service: `/_forno/faults` and `/_forno/calls`, for pipelines
//! that are no Rust programs. Signed as every other request, for a service
//! named `forno`, so that `curl --aws-sigv4` and every SDK's signer will do.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::auth::Protocol;
use super::dispatch::Service;
use crate::api::error::ApiError;
use crate::api::sigv4;
use crate::faults::FaultPlan;

/// How the paths of all of this begin.
pub(super) const ROOT: &str = "/_forno/";
/// The name that a signature's scope must give.
const SCOPE: &str = "forno";

/// Checks the signature, then answers.
pub(super) fn answer(
    service: &Service,
    request: sigv4::Request<'_>,
    method: &Method,
    now: jiff::Timestamp,
) -> Response {
    match believe(service, request, now).and_then(|()| carry_out(service, request, method)) {
        Ok(Some(value)) => write(StatusCode::OK, &value),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let told = json!({ "error": { "code": error.code(), "message": error.message() } });
            write(error.status(), &told)
        }
    }
}

fn believe(
    service: &Service,
    request: sigv4::Request<'_>,
    now: jiff::Timestamp,
) -> Result<(), ApiError> {
    let refused = |error: ApiError| error.with_status(StatusCode::FORBIDDEN);
    let scope = sigv4::verify(request, &service.credentials, now)
        .map_err(|refusal| refused(Protocol::Ssm.refuse(&refusal)))?;
    if scope.service == SCOPE {
        Ok(())
    } else {
        let why = format!("Credential should be scoped to correct service: '{SCOPE}'.");
        Err(refused(Protocol::Ssm.wrong_scope(&why)))
    }
}

fn carry_out(
    service: &Service,
    request: sigv4::Request<'_>,
    method: &Method,
) -> Result<Option<Value>, ApiError> {
    let regime = &service.regime;
    let part = request.path.strip_prefix(ROOT).unwrap_or_default();
    match (part, method) {
        ("faults", &Method::GET) => Ok(Some(json!(regime.plan()))),
        ("faults", &Method::PUT) => {
            let plan = read(request.body)?;
            let reply = json!(plan);
            regime.set(plan);
            Ok(Some(reply))
        }
        ("faults", &Method::DELETE) => {
            regime.set(FaultPlan::default());
            Ok(None)
        }
        ("calls", &Method::GET) => {
            let after = after(request.query)?;
            let mut calls = regime.calls();
            calls.retain(|call| call.number > after);
            Ok(Some(json!({ "calls": calls })))
        }
        ("calls", &Method::DELETE) => {
            regime.clear_calls();
            Ok(None)
        }
        ("faults" | "calls", _) => Err(ApiError::new(
            "MethodNotAllowed",
            "Expected GET, DELETE, or PUT of a plan of faults",
        )
        .with_status(StatusCode::METHOD_NOT_ALLOWED)),
        _ => Err(
            ApiError::new("NotFound", "Expected /_forno/faults or /_forno/calls")
                .with_status(StatusCode::NOT_FOUND),
        ),
    }
}

/// A plan in TOML or JSON: no document of TOML begins with a brace.
fn read(body: &[u8]) -> Result<FaultPlan, ApiError> {
    let bad = |why: String| ApiError::new("InvalidPlan", why);
    let text = std::str::from_utf8(body).map_err(|_| bad("The plan is not UTF-8".to_owned()))?;
    let plan = if text.trim_start().starts_with('{') {
        FaultPlan::parse_json(text)
    } else {
        FaultPlan::parse(text)
    };
    plan.map_err(|flaw| bad(format!("{}:{}: {}", flaw.line, flaw.column, flaw.message)))
}

/// `after=NUMBER`: only the calls that came later.
fn after(query: &str) -> Result<u64, ApiError> {
    let given = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "after");
    given.map_or(Ok(0), |(_, value)| {
        value
            .parse()
            .map_err(|_| ApiError::invalid_value(&value, "after", "it must be a call's number"))
    })
}

fn write(status: StatusCode, value: &Value) -> Response {
    let mut response = (status, value.to_string()).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
