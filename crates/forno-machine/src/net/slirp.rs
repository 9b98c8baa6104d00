//! slirp4netns's API socket: one JSON request per connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::connect_unix;
use crate::{Error, ErrorKind};

/// For an answer, once connected.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Off the runtime's own threads: slirp4netns takes one connection at a time, and
/// connecting blocks until it is this one's turn. Blocked workers could not write the
/// requests that it is waiting for.
async fn exchange(api: &Path, request: &Value) -> std::io::Result<Value> {
    let (api, request) = (api.to_owned(), request.to_string());
    tokio::task::spawn_blocking(move || {
        let mut socket = connect_unix(&api)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(request.as_bytes())?;
        socket.shutdown(Shutdown::Write)?;
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply)?;
        Ok(serde_json::from_slice(&reply)?)
    })
    .await?
}
