//! The machine of a bake, reached by another process: with credentials of its own
//! where Systems Manager is the way in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forno_aws::Gateway;
use forno_link::ssm::{
    self, Forward, InstancePort, InstanceTerminal, Ping, SsmLink, SsmTarget, Store,
};
use forno_link::{Exit, Watch};
use tokio_util::sync::CancellationToken;

use crate::bake::{BucketStore, Cloud};
use crate::{BucketPlace, Connection, Error, ErrorKind};

/// The machine is there, or it is not: nobody waits for a boot here.
const WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at a command.
const POLL: Duration = Duration::from_secs(2);

/// A command, or a shell that reads a pipe, on a machine that only its agent is
/// reached by.
pub async fn agent_shell(
    gateway: Gateway,
    connection: &Connection,
    bucket: Option<&BucketPlace>,
    command: Option<String>,
    cancel: &CancellationToken,
) -> Result<Exit, Error> {
    let link = agent_link(gateway, connection, bucket, cancel).await?;
    forno_link::by_lines(&link, command, cancel)
        .await
        .map_err(|error| failed(&error))
}

/// A terminal on such a machine, with the login user's own shell in it, joined with
/// the terminal of this process until the shell ends.
pub async fn agent_terminal(
    gateway: Gateway,
    connection: &Connection,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let systems = Cloud::new(gateway, POLL).systems;
    let login = forno_link::quote::line(["sudo", "-n", "-i", "-u", connection.user.as_str()]);
    let there = InstanceTerminal::new(systems, connection.instance_id.clone(), login);
    forno_link::shell_in(&there, cancel)
        .await
        .map_err(|error| failed(&error))
}

/// An open local port whose connections end at a port of the machine.
#[derive(Debug)]
pub struct Tunnel {
    forward: Forward,
}

impl Tunnel {
    pub fn address(&self) -> SocketAddr {
        self.forward.address()
    }
}

/// Opens it on 127.0.0.1, until it is dropped; port 0 is a free one. `tell` hears of
/// connections that came to nothing.
pub async fn tunnel(
    gateway: Gateway,
    connection: &Connection,
    port: u16,
    listen: u16,
    tell: impl Fn(Error) + Send + Sync + 'static,
) -> Result<Tunnel, Error> {
    let systems = Cloud::new(gateway, POLL).systems;
    let known = systems.ping(&connection.instance_id).await;
    if !matches!(known, Ok(Some(Ping { online: true, .. }))) {
        let why = match known {
            Ok(_) => "its SSM agent is not online".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        let why = format!("{}: {why}", connection.instance_id);
        return Err(Error::new(ErrorKind::Connect(why)));
    }
    let there = InstancePort::new(systems, connection.instance_id.clone(), port);
    let forward = Forward::listen(there, listen, move |error| tell(failed(&error)))
        .map_err(Error::io("listen on the local port"))?;
    Ok(Tunnel { forward })
}

async fn agent_link(
    gateway: Gateway,
    connection: &Connection,
    bucket: Option<&BucketPlace>,
    cancel: &CancellationToken,
) -> Result<SsmLink, Error> {
    let store = bucket
        .map(|place| Arc::new(BucketStore::new(gateway.clone(), place.clone())) as Arc<dyn Store>);
    let commands = Cloud::new(gateway, POLL).commands;
    let target = SsmTarget::new(
        connection.instance_id.clone(),
        connection.user.clone(),
        commands,
        store,
    );
    ssm::connect(target, WITHIN, &Watch::none(), cancel)
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &forno_link::Error) -> Error {
    if error.is_cancelled() {
        return Error::cancelled(error.to_string());
    }
    let told = Error::new(ErrorKind::Connect(error.to_string()));
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}
