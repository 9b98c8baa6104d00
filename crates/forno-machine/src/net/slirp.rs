//! slirp4netns's API socket: one JSON request per connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::connect_unix;
use crate::{Error, ErrorKind};

/// Forwards a port of this computer into the network; returns the number under
/// which it can be taken back.
pub(super) async fn add_forward(
    api: &Path,
    from: SocketAddr,
    to: Ipv4Addr,
    port: u16,
) -> Result<u64, Error> {
    let reply = ask(
        api,
        &json!({
            "execute": "add_hostfwd",
            "arguments": {
                "proto": "tcp",
                "host_addr": from.ip(),
                "host_port": from.port(),
                "guest_addr": to,
                "guest_port": port,
            },
        }),
    )
    .await?;
    reply["return"]["id"].as_u64().ok_or_else(|| {
        Error::new(
            ErrorKind::Network,
            format!(
                "cannot forward {from} to {to}:{port}: {}",
                reply["error"]["desc"]
            ),
        )
    })
}

/// Takes a forward back.
pub(super) async fn remove_forward(api: &Path, id: u64) -> Result<(), Error> {
    ask(
        api,
        &json!({ "execute": "remove_hostfwd", "arguments": { "id": id } }),
    )
    .await
    .map(drop)
}

/// Whether it answers.
pub(super) async fn answers(api: &Path) -> bool {
    ask(api, &json!({ "execute": "list_hostfwd" }))
        .await
        .is_ok()
}

async fn ask(api: &Path, request: &Value) -> Result<Value, Error> {
    exchange(api, request).await.map_err(|source| {
        Error::new(
            ErrorKind::Network,
            format!("slirp4netns does not answer: {source}"),
        )
        .caused_by(source)
    })
}

async fn exchange(api: &Path, request: &Value) -> std::io::Result<Value> {
    let socket = connect_unix(api)?;
    socket.set_nonblocking(true)?;
    let mut socket = UnixStream::from_std(socket)?;
    socket.write_all(request.to_string().as_bytes()).await?;
    socket.shutdown().await?;
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).await?;
    Ok(serde_json::from_slice(&reply)?)
}
