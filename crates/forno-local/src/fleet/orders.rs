//! The fleet seen from the actions: orders go in, consoles can be read. Each
//! living instance has one keeper, a task that carries out its orders in turn.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forno_machine::{Host, Kind, Machine};
use tokio::sync::{RwLock, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::agent::Agent;
use super::gate::Gate;
use super::keeper::{Keeper, instance_gone};
use crate::faults::{CaptureEnd, Marks, Then};
use crate::pace::Pace;
use crate::sessions::Sessions;
use crate::state::folder::Folder;
use crate::state::store::Store;
use crate::state::types::HostLimits;
use crate::state::world::Reason;

/// How much of a console EC2 keeps.
const CONSOLE_TAIL: usize = 64 * 1024;

/// What an action wants done to the machines, after its change is on disk.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Starts the machine of a new instance.
    Launch {
        region: String,
        instance: String,
    },
    /// Starts the machine of a stopped one.
    Start {
        instance: String,
    },
    Stop {
        instance: String,
        hard: bool,
    },
    Reboot {
        instance: String,
    },
    Terminate {
        instance: String,
        hard: bool,
    },
    /// Copies the volumes into snapshots.
    Capture {
        instance: String,
        capture: Capture,
    },
    /// Copies disks that nothing changes into snapshots.
    Copy(Capture),
    /// Gives up a capture that is under way.
    Abandon {
        snapshot: String,
    },
    /// Removes a disk that nothing refers to any more.
    RemoveDisk {
        disk: PathBuf,
    },
}

impl Order {
    /// The instance that it is about.
    fn moves(&self) -> Option<&str> {
        match self {
            Self::Launch { instance, .. }
            | Self::Start { instance }
            | Self::Stop { instance, .. }
            | Self::Reboot { instance }
            | Self::Terminate { instance, .. }
            | Self::Capture { instance, .. } => Some(instance),
            Self::Copy(_) | Self::Abandon { .. } | Self::RemoveDisk { .. } => None,
        }
    }
}

/// One call that makes snapshots, and perhaps an image of them.
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    pub(crate) region: String,
    pub(crate) image: Option<String>,
    /// The root's first.
    pub(crate) parts: Vec<Part>,
    /// Whether a running machine is stopped for it.
    pub(crate) reboot: bool,
    /// How it ends, where a plan of faults says so.
    pub(crate) end: Option<CaptureEnd>,
    /// Before this the snapshot is not completed.
    pub(crate) snapshot_due: Instant,
    /// Before this the image is not available.
    pub(crate) image_due: Instant,
}

/// A disk to copy, and the snapshot that it becomes. `None`: that has its data already.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) from: Option<PathBuf>,
    pub(crate) snapshot: String,
}

/// All machines of one endpoint.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) store: Arc<Store>,
    /// Credentials that machines have by their roles are among them.
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) folder: Arc<Folder>,
    pub(crate) limits: HostLimits,
    pub(crate) kind: Kind,
    pub(crate) pace: Pace,
    /// Taken out at shutdown, when no launch is under way.
    pub(crate) host: RwLock<Option<Host>>,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Captures under way, by snapshot.
    pub(crate) captures: Mutex<HashMap<String, CancellationToken>>,
    /// Changes with whether instances are managed.
    pub(crate) policy: watch::Sender<()>,
    desks: Mutex<HashMap<String, Desk>>,
}

/// What the fleet holds of one instance.
#[derive(Debug)]
struct Desk {
    /// Gone when the keeper has ended.
    orders: mpsc::UnboundedSender<Task>,
    /// Gives up a launch that is under way.
    give_up: CancellationToken,
    view: Arc<Mutex<View>>,
    agent: watch::Sender<Agent>,
}

/// What can be seen of a machine while its keeper is busy.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) machine: Option<Machine>,
    /// What the last machine of this instance had shown when it ended.
    pub(super) last_console: Vec<u8>,
}

/// An order as its keeper sees it.
#[derive(Debug)]
pub(super) enum Task {
    Start {
        gate: Gate,
    },
    Stop {
        hard: bool,
        gate: Gate,
    },
    Reboot,
    Terminate {
        hard: bool,
        gate: Gate,
    },
    Capture(Capture),
    /// Ends it though nobody asked for that.
    Die(Reason),
}

impl Fleet {
    pub(crate) fn new(
        store: Arc<Store>,
        sessions: Arc<Sessions>,
        folder: Arc<Folder>,
        host: Host,
        limits: HostLimits,
        pace: Pace,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            folder,
            limits,
            sessions,
            kind: host.kind(),
            pace,
            host: RwLock::new(Some(host)),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            captures: Mutex::default(),
            policy: watch::Sender::new(()),
            desks: Mutex::default(),
        })
    }

    /// Takes orders, with what they are to suffer. Returns at once.
    pub(crate) fn order(self: &Arc<Self>, orders: Vec<Order>, marks: &Marks) {
        let pace = self.pace;
        let gate = |at_least, state| Gate::new(at_least, marks.stuck(&state));
        for order in orders {
            let (death, delay) = marks.death().unzip();
            if let (Some(reason), Some(delay), Some(instance)) =
                (death.clone(), delay, order.moves())
                && !(delay.is_zero() && matches!(order, Order::Launch { .. }))
            {
                self.die_later(instance.to_owned(), reason, delay);
            }
            match order {
                Order::Launch { region, instance } => {
                    let lost = instance.clone();
                    let stillborn = death.filter(|_| delay.is_some_and(|delay| delay.is_zero()));
                    let gate = gate(pace.pending, Then::StuckPending);
                    self.open_desk(region, instance, gate, stillborn);
                    self.lose_agent(&lost, marks);
                }
                Order::Start { instance } => {
                    let gate = gate(pace.pending, Then::StuckPending);
                    self.lose_agent(&instance, marks);
                    self.tell(&instance, Task::Start { gate });
                }
                Order::Stop { instance, hard } => {
                    let gate = gate(pace.stopping, Then::StuckStopping);
                    self.tell(&instance, Task::Stop { hard, gate });
                }
                Order::Reboot { instance } => {
                    self.lose_agent(&instance, marks);
                    self.tell(&instance, Task::Reboot);
                }
                Order::Terminate { instance, hard } => {
                    if let Some(desk) = lock(&self.desks).get(&instance) {
                        desk.give_up.cancel();
                    }
                    let gate = gate(pace.shutting_down, Then::StuckShuttingDown);
                    self.tell(&instance, Task::Terminate { hard, gate });
                }
                Order::Capture {
                    instance,
                    mut capture,
                } => {
                    capture.end = marks.capture_end();
                    self.begin(&capture);
                    if !self.tell(&instance, Task::Capture(capture.clone())) {
                        let fleet = Arc::clone(self);
                        self.tasks.spawn(async move {
                            fleet.capture_failed(&capture, instance_gone()).await;
                        });
                    }
                }
                Order::Copy(mut capture) => {
                    capture.end = marks.capture_end();
                    self.begin(&capture);
                    let fleet = Arc::clone(self);
                    self.tasks
                        .spawn(async move { fleet.capture(capture).await });
                }
                Order::Abandon { snapshot } => {
                    if let Some(cancel) = lock(&self.captures).get(&snapshot) {
                        cancel.cancel();
                    }
                }
                Order::RemoveDisk { disk } => self.remove_disk(disk),
            }
        }
    }

    /// From here on a capture can be given up, by any of its snapshots.
    fn begin(&self, capture: &Capture) {
        let cancel = self.closing.child_token();
        let parts = capture.parts.iter();
        lock(&self.captures).extend(parts.map(|part| (part.snapshot.clone(), cancel.clone())));
    }

    /// The end of what an instance's console has shown; `None` when its
    /// machine was of an earlier endpoint.
    pub(crate) fn console(&self, instance: &str) -> Option<Vec<u8>> {
        let view = Arc::clone(&lock(&self.desks).get(instance)?.view);
        let view = lock(&view);
        let console = view
            .machine
            .as_ref()
            .map_or_else(|| view.last_console.clone(), Machine::console);
        Some(tail(console))
    }

    pub(super) fn agent_of(&self, instance: &str) -> Option<watch::Sender<Agent>> {
        Some(lock(&self.desks).get(instance)?.agent.clone())
    }

    /// Removes a disk; only those of this state folder, never the shared one.
    pub(crate) fn remove_disk(self: &Arc<Self>, disk: PathBuf) {
        if disk.parent() != Some(self.folder.disks().as_path()) {
            return;
        }
        self.tasks
            .spawn_blocking(move || match fs_err::remove_file(&disk) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::error!(%error, "disk not removed");
                }
                _ => {}
            });
    }

    /// Ends all machines. Returns when nothing of them is left.
    pub(crate) async fn shutdown(&self) {
        self.closing.cancel();
        if let Some(host) = self.host.write().await.take() {
            host.shutdown().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Forgets the desks of instances that are shown no more.
    pub(crate) fn forget(&self, instances: &[String]) {
        let mut desks = lock(&self.desks);
        for instance in instances {
            desks.remove(instance);
        }
    }

    /// Ends an instance after a time.
    fn die_later(self: &Arc<Self>, instance: String, reason: Reason, delay: Duration) {
        let fleet = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => {
                    fleet.tell(&instance, Task::Die(reason));
                }
                () = fleet.closing.cancelled() => {}
            }
        });
    }

    /// Launches an instance; one that is stillborn never gets a machine.
    fn open_desk(
        self: &Arc<Self>,
        region: String,
        instance: String,
        gate: Gate,
        stillborn: Option<Reason>,
    ) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let view = Arc::new(Mutex::new(View::default()));
        let agent = watch::Sender::new(Agent::default());
        let give_up = self.closing.child_token();
        lock(&self.desks).insert(
            instance.clone(),
            Desk {
                orders,
                give_up: give_up.clone(),
                view: Arc::clone(&view),
                agent: agent.clone(),
            },
        );
        let keeper = Keeper::new(Arc::clone(self), region, instance, give_up, view, agent);
        self.tasks.spawn(keeper.keep(inbox, gate, stillborn));
    }

    /// Whether there is a keeper that will see it. Where there is none, the
    /// instance ended after the action had looked at its state.
    fn tell(&self, instance: &str, task: Task) -> bool {
        lock(&self.desks)
            .get(instance)
            .is_some_and(|desk| desk.orders.send(task).is_ok())
    }
}

pub(super) fn tail(mut console: Vec<u8>) -> Vec<u8> {
    if console.len() > CONSOLE_TAIL {
        console.drain(..console.len() - CONSOLE_TAIL);
    }
    console
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
