//! What all kinds of machines share while they run.
//!
//! A machine is a task that owns everything the machine consists of, and a
//! handle that sends it orders and watches its status. The task alone decides
//! what the status is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::console::Console;
use crate::inside::Inside;
use crate::{Error, ErrorKind, Kind, Machine, MachineSpec, OffReason, Status};

/// What the handle asks of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    PowerOff,
    Reboot,
    Kill,
}

/// What handle and task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub id: String,
    pub kind: Kind,
    pub ssh: SocketAddr,
    /// The machine's own folder.
    pub dir: PathBuf,
    pub console: Console,
    pub orders: mpsc::UnboundedSender<Order>,
    pub status: watch::Receiver<Status>,
    /// The way into the boot that there is now.
    pub inside: watch::Receiver<Option<Inside>>,
    /// How often the guest has begun to run.
    pub boots: watch::Receiver<u64>,
    /// Whether a guest of this kind shows a login prompt.
    pub has_login: bool,
}

/// The task's side.
#[derive(Debug)]
pub(crate) struct Life {
    pub shared: Arc<Shared>,
    pub orders: mpsc::UnboundedReceiver<Order>,
    status: watch::Sender<Status>,
    inside: watch::Sender<Option<Inside>>,
    boots: watch::Sender<u64>,
}

impl Life {
    /// A life and its handle.
    pub(crate) fn new(spec: &MachineSpec, kind: Kind, ssh: SocketAddr) -> (Self, Machine) {
        let (order_sender, orders) = mpsc::unbounded_channel();
        let (status, status_receiver) = watch::channel(Status::Starting);
        let (inside, inside_receiver) = watch::channel(None);
        let (boots, boots_receiver) = watch::channel(0);
        let shared = Arc::new(Shared {
            id: spec.id.clone(),
            kind,
            ssh,
            dir: spec.dir.clone(),
            console: Console::new(console_path(spec)),
            orders: order_sender,
            status: status_receiver,
            inside: inside_receiver,
            boots: boots_receiver,
            has_login: kind != Kind::Stub,
        });
        let machine = Machine::new(Arc::clone(&shared));
        let life = Self {
            shared,
            orders,
            status,
            inside,
            boots,
        };
        (life, machine)
    }

    /// The guest runs, and this is the way into it.
    pub(crate) fn up(&self, inside: Inside) {
        self.inside.send_replace(Some(inside));
        self.boots.send_modify(|boots| *boots += 1);
        self.enter(Status::Running);
    }

    pub(crate) fn enter(&self, status: Status) {
        if status != Status::Running {
            self.inside.send_replace(None);
        }
        tracing::debug!(machine = %self.shared.id, ?status, "status");
        self.status.send_replace(status);
    }

    /// The next order; never returns when there can be none any more.
    pub(crate) async fn order(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Life {
    /// A task that ended without saying so must not leave its watchers waiting.
    fn drop(&mut self) {
        self.status.send_if_modified(|status| {
            let silent = !matches!(status, Status::Off(_));
            if silent {
                *status = Status::Off(OffReason::Failed("its supervision broke off".to_owned()));
            }
            silent
        });
    }
}

pub(crate) fn console_path(spec: &MachineSpec) -> PathBuf {
    spec.dir.join("console.log")
}

/// Checks what every kind needs, and makes the machine's folder.
pub(crate) fn prepare(spec: &MachineSpec) -> Result<(), Error> {
    let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if spec.id.is_empty() || spec.id.len() > 64 || !spec.id.chars().all(plain) {
        return invalid(format!("{:?} cannot be a machine's id", spec.id));
    }
    if spec.vcpus == 0 || spec.memory_mib < 64 {
        return invalid(format!(
            "a machine with {} processors and {} MiB cannot run",
            spec.vcpus, spec.memory_mib
        ));
    }
    let sockets = spec.services.iter().map(|(_, socket)| socket);
    for path in [&spec.dir, &spec.disk, &spec.imds_socket]
        .into_iter()
        .chain(sockets)
    {
        if !path.is_absolute() {
            return invalid(format!("{} is not an absolute path", path.display()));
        }
        crate::net::text(path)?;
    }
    if !spec.disk.is_file() {
        return Err(Error::new(
            ErrorKind::Disk,
            format!("there is no disk at {}", spec.disk.display()),
        ));
    }
    fs_err::create_dir_all(&spec.dir).map_err(|e| Error::file("create", &spec.dir, e))
}
