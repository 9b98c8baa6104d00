//! The gateway's door: the signature of the upgrade, then the token in the first
//! frame. Whoever has none is sent away with the code that the real one uses.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use tokio::time::timeout;

use super::driver::Arrived;
use super::session::Session;
use crate::service::Service;

/// The right to connect, as policies name it.
pub(crate) const ACTION: &str = "OpenDataChannel";
/// How the paths of channels begin.
pub(crate) const ROOT: &str = "/v1/data-channel/";
/// How long a client may take to show its token.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest frame that is taken.
const LARGEST: usize = 1 << 20;
/// Not what was expected.
const UNACCEPTABLE: u16 = 1003;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OpenDataChannel {
    message_schema_version: String,
    token_value: String,
}

/// Opens the channel that the path names, for a request whose signature was
/// believed.
pub(crate) async fn open(service: Arc<Service>, mut parts: Parts) -> Response {
    let id = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let session = service.memory.sessions.find(id);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.into_response(),
    };
    let role = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "role")
        .map(|(_, role)| role.into_owned());
    if role.as_deref() != Some("publish_subscribe") {
        return StatusCode::BAD_REQUEST.into_response();
    }
    upgrade
        .max_message_size(LARGEST)
        .max_frame_size(LARGEST)
        .on_upgrade(async move |socket| {
            tokio::select! {
                () = service.ending.cancelled() => {}
                () = admit(&service, session, socket) => {}
            }
        })
}

async fn admit(service: &Service, session: Option<Arc<Session>>, mut socket: WebSocket) {
    let first = timeout(PATIENCE, first_text(&mut socket)).await;
    let token = first.ok().flatten().and_then(|text| {
        serde_json::from_str::<OpenDataChannel>(&text)
            .ok()
            .filter(|opening| opening.message_schema_version == "1.0")
            .map(|opening| opening.token_value)
    });
    let session = session
        .zip(token)
        .filter(|(session, token)| session.admit(token));
    if let Some((session, _)) = session {
        let faults = service.regime.channel(&session.parameters());
        session.arrived(Arrived { socket, faults }).await;
        return;
    }
    let close = Frame::Close(Some(CloseFrame {
        code: UNACCEPTABLE,
        reason: "Channel token is invalid".into(),
    }));
    let goodbye = async {
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = timeout(PATIENCE, goodbye).await;
}

/// The first frame, where it is text.
async fn first_text(socket: &mut WebSocket) -> Option<String> {
    loop {
        match socket.recv().await? {
            Ok(Frame::Text(text)) => return Some(text.to_string()),
            Ok(Frame::Ping(_) | Frame::Pong(_)) => {}
            Ok(Frame::Binary(_) | Frame::Close(_)) | Err(_) => return None,
        }
    }
}
