//! The life of a stub.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metadata::{self, Identity};
use super::reaper::Reaper;
use super::scratch::Scratch;
use super::script::Inside;
use super::server;
use crate::net::choose_ssh_port;
use crate::run::{Life, Order};
use crate::{Error, ErrorKind, Kind, Machine, MachineSpec, OffReason, Status, inside, run};

/// How long a stub stays up when its guest sends it down, as every machine takes a moment:
/// a client that came for that one command has left by then. OpenSSH, told goodbye, drops
/// what it has not written yet.
const PARTING: Duration = Duration::from_secs(1);

/// Starts a stub. It is up when this returns.
pub(crate) async fn launch(spec: MachineSpec) -> Result<Machine, Error> {
    run::prepare(&spec)?;
    let identity = metadata::fetch(&spec.imds_socket).await?;
    let ssh = choose_ssh_port(spec.public_address)?;
    let listener = TcpListener::bind(ssh).await.map_err(|e| {
        Error::new(ErrorKind::Network, format!("cannot listen on {ssh}: {e}")).caused_by(e)
    })?;
    let scratch = blocking(move || Scratch::open(&spec).map(|scratch| (scratch, spec))).await?;
    let (scratch, spec) = scratch;
    let reaper = Reaper::start(&scratch)?;
    let (life, machine) = Life::new(&spec, Kind::Stub, ssh);
    note(&life, "stub: up\n");
    let boot = Boot::begin(&scratch, &life);
    tokio::spawn(live(
        Arc::new(listener),
        identity,
        scratch,
        reaper,
        boot,
        life,
    ));
    Ok(machine)
}

async fn live(
    listener: Arc<TcpListener>,
    identity: Identity,
    scratch: Scratch,
    mut reaper: Reaper,
    mut boot: Boot,
    mut life: Life,
) {
    let reason = loop {
        let order = one_boot(&listener, &identity, boot, &mut life).await;
        reaper.finish().await;
        match order {
            Order::Reboot => {
                life.enter(Status::Rebooting);
                note(&life, "stub: restarting\n");
                let begun = scratch.begin_boot().and_then(|()| Reaper::start(&scratch));
                reaper = match begun {
                    Ok(reaper) => reaper,
                    Err(error) => break OffReason::Failed(error.to_string()),
                };
                boot = Boot::begin(&scratch, &life);
            }
            Order::PowerOff => break OffReason::GuestShutdown,
            Order::Kill => break OffReason::Killed,
        }
    };
    drop(listener);
    note(&life, "stub: off\n");
    let closed = blocking(move || scratch.close()).await;
    life.enter(Status::Off(match closed {
        Ok(()) => reason,
        Err(error) => OffReason::Failed(format!("{reason}, and then: {error}")),
    }));
}

/// What belongs to one boot.
struct Boot {
    inside: Inside,
    command_ended: mpsc::UnboundedReceiver<()>,
}

impl Boot {
    /// The stub is up from here on.
    fn begin(scratch: &Scratch, life: &Life) -> Self {
        let (ended_sender, command_ended) = mpsc::unbounded_channel();
        let inside = Inside {
            scratch: scratch.clone(),
            command_ended: ended_sender,
            down: CancellationToken::new(),
            commands: TaskTracker::new(),
        };
        life.up(inside::Inside::Stub(inside.clone()));
        Self {
            inside,
            command_ended,
        }
    }
}

/// Serves until somebody, from inside or outside, ends this boot.
async fn one_boot(
    listener: &Arc<TcpListener>,
    identity: &Identity,
    boot: Boot,
    life: &mut Life,
) -> Order {
    let Boot {
        inside,
        mut command_ended,
    } = boot;
    let (scratch, down) = (inside.scratch.clone(), inside.down.clone());
    let serving = server::serve(Arc::clone(listener), identity, inside);
    tokio::pin!(serving);
    let order = loop {
        tokio::select! {
            () = &mut serving => break Order::Kill,
            order = life.order() => break order,
            Some(()) = command_ended.recv() => {
                let order = match scratch.take_order().as_deref() {
                    Some("reboot") => Order::Reboot,
                    Some(_) => Order::PowerOff,
                    None => continue,
                };
                drop(timeout(PARTING, &mut serving).await);
                break order;
            }
        }
    };
    down.cancel();
    serving.await;
    order
}

fn note(life: &Life, text: &str) {
    use std::io::Write;
    let path = life.shared.console.path();
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, path = %path.display(), "no console log");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Io, format!("work on a disk broke off: {e}")))?
}
