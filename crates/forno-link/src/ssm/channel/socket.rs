//! The websocket to the gateway: signed, and with the system's own roots of trust.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

use super::frame::MAX_FRAME;
use crate::ssm::Systems;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Io>>;

/// For the signature, TCP, TLS and the upgrade together.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn dial(systems: &dyn Systems, url: &str) -> Result<Socket, String> {
    tokio::time::timeout(WITHIN, connect(systems, url))
        .await
        .unwrap_or_else(|_| {
            let within = crate::error::seconds(&WITHIN);
            Err(format!("the gateway did not answer within {within}"))
        })
}

async fn connect(systems: &dyn Systems, stream_url: &str) -> Result<Socket, String> {
    let url = Url::parse(stream_url).map_err(|error| format!("a stream URL: {error}"))?;
    let request = request(systems, stream_url).await?;
    let host = url.host_str().ok_or("a stream URL without a host")?;
    let secure = match url.scheme() {
        "wss" => true,
        "ws" => false,
        other => return Err(format!("a stream URL of the scheme {other}")),
    };
    let port = url.port_or_known_default().unwrap_or(443);
    let address = (host.trim_matches(['[', ']']), port);
    let failed = |what: &str| format!("cannot {what} {host}:{port}");
    let stream = TcpStream::connect(address)
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|error| format!("{}: {error}", failed("reach the gateway")))?;
    let stream: Box<dyn Io> = if secure {
        let name = ServerName::try_from(address.0.to_owned())
            .map_err(|error| format!("the gateway's name: {error}"))?;
        let stream = TlsConnector::from(trust()?)
            .connect(name, stream)
            .await
            .map_err(|error| format!("{}: {error}", failed("trust the gateway")))?;
        Box::new(stream)
    } else {
        Box::new(stream)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let (socket, _) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|error| describe(&error))?;
    Ok(socket)
}

/// Signed afresh, every time.
async fn request(systems: &dyn Systems, url: &str) -> Result<Request, String> {
    let mut request = url
        .into_client_request()
        .map_err(|error| format!("a stream URL: {error}"))?;
    let signed = systems.sign_stream(url).await.map_err(|e| e.message)?;
    for (name, value) in signed {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("a header of the name {name:?}"))?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| format!("the header {name} has a value that is none"))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// Read once: the roots are some hundred files.
fn trust() -> Result<Arc<rustls::ClientConfig>, String> {
    static TRUST: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUST.get() {
        return Ok(Arc::clone(config));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("this computer has no root certificates (package ca-certificates)".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(TRUST.get_or_init(|| Arc::new(config))))
}

/// With what the gateway said, when it refused the upgrade.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let said = String::from_utf8_lossy(&body[..body.len().min(300)]);
            format!(
                "the gateway refused the connection: {} {}",
                response.status(),
                said.trim()
            )
            .trim_end()
            .to_owned()
        }
        Error::ConnectionClosed | Error::AlreadyClosed => "closed by the gateway".into(),
        other => other.to_string(),
    }
}

/// With the gateway's reason, if it gave one.
pub(super) fn closing(message: &Message) -> String {
    match message {
        Message::Close(Some(frame)) => {
            format!("closed by the gateway: {} {}", frame.code, frame.reason)
                .trim_end()
                .to_owned()
        }
        _ => "closed by the gateway".into(),
    }
}
