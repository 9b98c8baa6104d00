//! An ssh-agent of our own: foreign clients (Ansible's ssh) log in with the
//! bake's key without ever holding it.
//!
//! It serves exactly one key, refuses every other request, and answers only
//! processes of the same user. The socket dies with the process; its file is
//! removed on drop.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_encoding::{Decode, Encode};
use russh::keys::ssh_key::public::KeyData;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use crate::Identity;

/// The longest path that a unix socket's address holds, with some room.
const MAX_PATH: usize = 100;

/// Requests are a key and some hundred bytes to sign.
const MAX_REQUEST: u32 = 256 * 1024;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// A running agent.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
    /// What a person or another forno finds, when not the socket itself.
    link: Option<PathBuf>,
    _serving: AbortOnDropHandle<()>,
    _dir: Option<TempDir>,
}

impl AgentSocket {
    /// On a socket in a private temporary folder.
    pub fn new(identity: Arc<Identity>) -> io::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("forno-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()?;
        let path = dir.path().join("agent");
        let serving = serve(&path, identity)?;
        Ok(Self {
            path,
            link: None,
            _serving: serving,
            _dir: Some(dir),
        })
    }

    /// At a path that others know, such as in a bake's folder. Where the path is
    /// too long for a socket, a symbolic link stands there.
    pub fn at(path: &Path, identity: Arc<Identity>) -> io::Result<Self> {
        match fs_err::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if path.as_os_str().len() <= MAX_PATH {
            let serving = serve(path, identity)?;
            return Ok(Self {
                path: path.to_owned(),
                link: None,
                _serving: serving,
                _dir: None,
            });
        }
        let mut agent = Self::new(identity)?;
        fs_err::os::unix::fs::symlink(&agent.path, path)?;
        agent.link = Some(path.to_owned());
        Ok(agent)
    }

    /// For `SSH_AUTH_SOCK`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        for path in [Some(&self.path), self.link.as_ref()].into_iter().flatten() {
            let _ = fs_err::remove_file(path);
        }
    }
}

/// The socket behind what [`AgentSocket::at`] left at a path.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    fs_err::read_link(path).unwrap_or_else(|_| path.to_owned())
}

fn serve(path: &Path, identity: Arc<Identity>) -> io::Result<AbortOnDropHandle<()>> {
    let listener = UnixListener::bind(path)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let us = rustix::process::geteuid().as_raw();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let theirs = stream.peer_cred().map(|cred| cred.uid());
                    if !matches!(theirs, Ok(uid) if uid == us || uid == 0) {
                        tracing::warn!(?theirs, "the agent refuses another user");
                        continue;
                    }
                    let identity = Arc::clone(&identity);
                    connections.spawn(async move {
                        let end = converse(stream, &identity).await;
                        tracing::trace!(?end, "agent connection ended");
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(AbortOnDropHandle::new(task))
}

async fn converse(mut stream: UnixStream, identity: &Identity) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        if length == 0 || length > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await?;
        let reply = answer(&request, identity).unwrap_or_else(|| vec![FAILURE]);
        let length = u32::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_u32(length).await?;
        stream.write_all(&reply).await?;
    }
}

/// `None` refuses.
fn answer(request: &[u8], identity: &Identity) -> Option<Vec<u8>> {
    let (&kind, mut rest) = request.split_first()?;
    let key = identity.public();
    let mut reply = Vec::new();
    match kind {
        REQUEST_IDENTITIES => {
            reply.push(IDENTITIES_ANSWER);
            1_u32.encode(&mut reply).ok()?;
            key.to_bytes().ok()?.encode(&mut reply).ok()?;
            identity.comment().encode(&mut reply).ok()?;
        }
        SIGN_REQUEST => {
            let blob = Vec::<u8>::decode(&mut rest).ok()?;
            let asked = KeyData::decode(&mut blob.as_slice()).ok()?;
            if &asked != key.key_data() {
                return None;
            }
            let data = Vec::<u8>::decode(&mut rest).ok()?;
            let signature = identity.sign(&data).ok()?;
            let mut encoded = Vec::new();
            signature.encode(&mut encoded).ok()?;
            reply.push(SIGN_RESPONSE);
            encoded.encode(&mut reply).ok()?;
        }
        _ => return None,
    }
    Some(reply)
}
