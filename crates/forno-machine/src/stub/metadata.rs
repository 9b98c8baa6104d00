//! What a stub asks of the metadata service, as cloud-init would: user data for
//! the host key, the public key of the launch. With a session token, so that it
//! works whether or not the launch requires one.

use std::path::Path;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use russh::keys::{PrivateKey, PublicKey};
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::net::connect_unix;
use crate::{Error, ErrorKind};

/// What a stub learned.
#[derive(Debug)]
pub(super) struct Identity {
    pub host_key: PrivateKey,
    pub authorized: Vec<PublicKey>,
}

/// The part of a cloud-config that a stub heeds.
#[derive(Debug, Default, Deserialize)]
struct CloudConfig {
    #[serde(default)]
    ssh_keys: SshKeys,
    #[serde(default)]
    ssh_authorized_keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct SshKeys {
    ed25519_private: Option<String>,
}

/// Asks for everything. A machine without user data makes its own host key; one
/// without keys lets nobody in.
pub(super) async fn fetch(socket: &Path) -> Result<Identity, Error> {
    let token = ask(
        socket,
        Method::PUT,
        "/latest/api/token",
        ("x-aws-ec2-metadata-token-ttl-seconds", "300"),
    )
    .await?
    .unwrap_or_default();
    let get = async |path: &str| {
        ask(
            socket,
            Method::GET,
            path,
            ("x-aws-ec2-metadata-token", &token),
        )
        .await
    };
    let config = match get("/latest/user-data").await? {
        Some(text) if text.trim_start().starts_with("#cloud-config") => {
            serde_yaml_ng::from_str::<CloudConfig>(&text)
                .map_err(|e| bad(format!("the user data is not a cloud-config: {e}")))?
        }
        _ => CloudConfig::default(),
    };
    let host_key = match config.ssh_keys.ed25519_private {
        Some(text) => PrivateKey::from_openssh(text.trim())
            .map_err(|e| bad(format!("the host key in the user data is unusable: {e}")))?,
        None => new_host_key()?,
    };
    let mut lines = config.ssh_authorized_keys;
    let listed = get("/latest/meta-data/public-keys/").await?;
    for index in listed.iter().flat_map(|text| text.lines()) {
        let number = index.split('=').next().unwrap_or_default();
        let path = format!("/latest/meta-data/public-keys/{number}/openssh-key");
        lines.extend(get(&path).await?);
    }
    let authorized = lines
        .iter()
        .filter_map(|line| PublicKey::from_openssh(line.trim()).ok())
        .collect();
    Ok(Identity {
        host_key,
        authorized,
    })
}

fn new_host_key() -> Result<PrivateKey, Error> {
    let seed = rand::random::<[u8; 32]>();
    let pair = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&seed);
    PrivateKey::new(pair.into(), "")
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("cannot make a host key: {e}")))
}

/// One request; none when there is no such thing.
async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    header: (&str, &str),
) -> Result<Option<String>, Error> {
    let broken = |e: &dyn std::fmt::Display| {
        bad(format!(
            "the metadata service at {} does not answer {path}: {e}",
            socket.display()
        ))
    };
    let stream = connect_unix(socket)
        .and_then(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        })
        .map_err(|e| broken(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let carried = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "169.254.169.254")
        .header(header.0, header.1)
        .body(Empty::<Bytes>::new())
        .map_err(|e| broken(&e))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|e| broken(&e))?;
    carried.abort();
    match status {
        StatusCode::OK => Ok(Some(String::from_utf8_lossy(&body.to_bytes()).into_owned())),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(broken(&other)),
    }
}

fn bad(what: String) -> Error {
    Error::new(ErrorKind::Invalid, what)
}
