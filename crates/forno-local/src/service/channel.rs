//! The data channels of sessions: a websocket whose upgrade is signed. What
//! passes through it then is no longer a call.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{Method, StatusCode};

use super::auth::Protocol;
use super::dispatch::{Answer, Service};
use super::http::{believe, reply};
use super::line::Line;
use crate::channel;
use crate::faults::{Asked, ServiceName};

/// Opens a channel, where the plan of faults lets it.
pub(super) async fn answer(service: Arc<Service>, parts: Parts, line: &Line) -> Response {
    if parts.method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let request_id = uuid::Uuid::new_v4().to_string();
    let region = match believe(&service, &parts, b"", Protocol::SsmMessages) {
        Ok((region, _)) => region,
        Err(error) => return reply(Protocol::SsmMessages, Err(error), &request_id),
    };
    let session = parts.uri.path().strip_prefix(channel::ROOT);
    let session = session.unwrap_or_default().to_owned();
    let asked = Asked {
        service: ServiceName::SsmMessages,
        region: region.name,
        action: channel::ACTION.to_owned(),
        parameters: [("SessionId".to_owned(), session)].into(),
        request_id: request_id.clone(),
    };
    match service.dispatch(asked, async |_| Ok(())).await {
        Answer::Reply(Ok(())) => channel::open(service, parts).await,
        Answer::Reply(Err(error)) => reply(Protocol::SsmMessages, Err(error), &request_id),
        Answer::Reset => {
            line.cut();
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
