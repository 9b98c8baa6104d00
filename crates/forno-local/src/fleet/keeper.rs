//! The keeper of one instance: launches its machine, carries out its orders in
//! turn, and notices when the guest ends by itself. All changes of an
//! instance's state that an action did not make are made here.

use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_machine::{DataDisk, Kind, Machine, MachineSpec, OffReason};
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, attend};
use super::burial::release_volumes;
use super::gate::Gate;
use super::orders::{Capture, Fleet, Task, View, lock, tail};
use crate::endpoint::MACHINE_PORT;
use crate::error::chain;
use crate::imds;
use crate::state::types::InstanceType;
use crate::state::world::{Instance, InstanceState, OnShutdown, Reason, RegionState};

/// How long a guest may take to power off before it is killed.
const STOP_PATIENCE: Duration = Duration::from_mins(2);
/// The same for a guest whose disk is of no more use.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks whether SSH answers.
const PROBE_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Keeper {
    fleet: Arc<Fleet>,
    region: String,
    id: String,
    give_up: CancellationToken,
    view: Arc<Mutex<View>>,
    agent: watch::Sender<Agent>,
    machine: Option<Machine>,
    /// What brings the instance from pending to running and to its status
    /// checks; of the machine that there is now.
    rise: Option<AbortHandle>,
    copies: JoinSet<()>,
}

/// The disk of a volume, before there is one.
struct NewDisk {
    /// That of its snapshot; `None`: it begins empty.
    from: Option<PathBuf>,
    to: PathBuf,
    bytes: u64,
    is_root: bool,
}

/// Why a machine did not start, as an instance's state reason.
struct NoStart(Reason);

enum Event {
    Order(Task),
    Off(OffReason),
    Closing,
}

impl Keeper {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        region: String,
        id: String,
        give_up: CancellationToken,
        view: Arc<Mutex<View>>,
        agent: watch::Sender<Agent>,
    ) -> Self {
        Self {
            fleet,
            region,
            id,
            give_up,
            view,
            agent,
            machine: None,
            rise: None,
            copies: JoinSet::new(),
        }
    }

    /// The whole life of an instance.
    pub(super) async fn keep(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Task>,
        gate: Gate,
        stillborn: Option<Reason>,
    ) {
        match stillborn {
            Some(reason) => {
                self.pass(&gate).await;
                self.end(Some(reason)).await;
            }
            None => self.live(&mut inbox, gate).await,
        }
        // What was ordered while it ended is done by its end, but for this.
        inbox.close();
        while let Some(task) = inbox.recv().await {
            if let Task::Capture(capture) = task {
                self.fleet.capture_failed(&capture, instance_gone()).await;
            }
        }
    }

    async fn live(&mut self, inbox: &mut mpsc::UnboundedReceiver<Task>, gate: Gate) {
        let imds = match self.prepare().await {
            Ok(imds) => imds,
            Err(reason) => return self.end(Some(reason)).await,
        };
        if let Err(NoStart(reason)) = self.start(gate).await {
            drop(imds);
            return self.end(Some(reason)).await;
        }
        loop {
            let event = tokio::select! {
                biased;
                () = self.fleet.closing.cancelled() => Event::Closing,
                reason = off(self.machine.as_ref()) => Event::Off(reason),
                task = inbox.recv() => task.map_or(Event::Closing, Event::Order),
            };
            let ended = match event {
                Event::Closing => return,
                Event::Off(reason) => self.went_off(reason).await,
                Event::Order(task) => self.carry_out(task).await,
            };
            if ended {
                drop(imds);
                return;
            }
        }
    }

    /// Makes the disks and answers metadata from then on.
    async fn prepare(&self) -> Result<imds::Server, Reason> {
        let plans = self.fleet.store.read(|world| {
            let region = world.regions.get(&self.region)?;
            let instance = region.instances.get(&self.id)?;
            let volumes = region.volumes_of(instance).into_iter();
            let plans = volumes.map(|(volume, _)| {
                let snapshot = volume.snapshot.as_ref().map(|id| region.snapshots.get(id));
                let from = match snapshot {
                    None => None,
                    Some(snapshot) => Some(snapshot.ok_or_else(no_snapshot)?.disk.clone()),
                };
                Ok(NewDisk {
                    from,
                    to: volume.disk.clone(),
                    bytes: u64::from(volume.size_gib) << 30,
                    is_root: volume.id == instance.root_volume,
                })
            });
            Some(plans.collect::<Result<Vec<_>, Reason>>())
        });
        let plans = plans.unwrap_or_else(|| Ok(Vec::new()))?;
        if !plans.iter().any(|plan| plan.is_root) {
            return Err(internal("the instance has no root volume"));
        }
        for plan in plans {
            self.make_disk(plan).await?;
        }
        let dir = self.dir();
        fs_err::tokio::create_dir_all(&dir)
            .await
            .map_err(internal)?;
        imds::Server::start(
            &dir.join("imds.sock"),
            Arc::clone(&self.fleet.store),
            Arc::clone(&self.fleet.sessions),
            &self.region,
            &self.id,
        )
        .map_err(internal)
    }

    async fn make_disk(&self, plan: NewDisk) -> Result<(), Reason> {
        let NewDisk {
            from,
            to,
            bytes,
            is_root,
        } = plan;
        match from {
            None => {
                fs_err::tokio::File::create(&to).await.map_err(internal)?;
            }
            Some(from) => {
                if !from.exists() {
                    return Err(no_snapshot());
                }
                forno_machine::copy_disk(&from, &to, |_| {}, &self.give_up)
                    .await
                    .map_err(|error| internal(chain(&error)))?;
            }
        }
        // The root of a stub is an archive.
        if is_root && self.fleet.kind == Kind::Stub {
            return Ok(());
        }
        tokio::task::spawn_blocking(move || forno_machine::grow_disk(&to, bytes))
            .await
            .map_err(internal)?
            .map_err(|error| internal(chain(&error)))
    }

    /// Starts a machine on the disk; the instance is running once past the gate.
    async fn start(&mut self, gate: Gate) -> Result<(), NoStart> {
        self.settle_copies().await;
        let failed = |why: String| NoStart(internal(why));
        let (instance, data_disks) = self
            .fleet
            .store
            .read(|world| {
                let region = world.regions.get(&self.region)?;
                let instance = region.instances.get(&self.id)?;
                Some((instance.clone(), data_disks(region, instance)))
            })
            .ok_or_else(|| failed("the instance is gone".to_owned()))?;
        let kind = InstanceType::find(&instance.kind)
            .ok_or_else(|| failed(format!("no instance type {}", instance.kind)))?;
        let (vcpus, memory_mib) = self.fleet.limits.grant(&kind);
        let spec = MachineSpec {
            id: self.id.clone(),
            dir: self.dir(),
            disk: self.disk(&instance.root_volume),
            data_disks,
            vcpus,
            memory_mib,
            public_address: instance.public_address,
            private_address: instance.private_address,
            imds_socket: self.dir().join("imds.sock"),
            services: vec![(MACHINE_PORT, self.fleet.folder.machines_socket())],
        };
        let machine = match &*self.fleet.host.read().await {
            Some(host) => host
                .launch(spec)
                .await
                .map_err(|error| failed(chain(&error)))?,
            None => return Err(failed("the endpoint is ending".to_owned())),
        };
        let address = machine.ssh_address();
        self.set(|instance| {
            instance.ssh_port = (address.port() != 22).then_some(address.port());
        })
        .await;
        lock(&self.view).machine = Some(machine.clone());
        let rise = self.fleet.tasks.spawn(rise(
            Arc::clone(&self.fleet),
            self.region.clone(),
            self.id.clone(),
            machine.clone(),
            gate,
        ));
        self.rise = Some(rise.abort_handle());
        self.fleet.tasks.spawn(attend(
            Arc::clone(&self.fleet),
            self.region.clone(),
            self.id.clone(),
            machine.clone(),
            self.agent.clone(),
        ));
        self.machine = Some(machine);
        Ok(())
    }

    /// Returns whether the instance has ended.
    async fn carry_out(&mut self, task: Task) -> bool {
        match task {
            Task::Start { gate } => {
                if self.machine.is_none()
                    && let Err(NoStart(reason)) = self.start(gate).await
                {
                    self.stopped(reason, "Server.InternalError").await;
                }
                false
            }
            Task::Stop { hard, gate } => {
                self.power_off(hard, STOP_PATIENCE).await;
                // Apart, so that it can be terminated while it is held.
                let (fleet, region, id) = (
                    Arc::clone(&self.fleet),
                    self.region.clone(),
                    self.id.clone(),
                );
                self.fleet.tasks.spawn(async move {
                    tokio::select! {
                        () = gate.pass() => {
                            let reason =
                                Reason::new("Client.UserInitiatedShutdown", "User initiated shutdown");
                            stopped(&fleet, &region, &id, reason, &user_initiated()).await;
                        }
                        () = fleet.closing.cancelled() => {}
                    }
                });
                false
            }
            Task::Reboot => {
                if let Some(machine) = &self.machine
                    && let Err(error) = machine.reboot().await
                {
                    tracing::warn!(instance = self.id, error = chain(&error), "reboot failed");
                }
                false
            }
            Task::Terminate { hard, gate } => {
                self.power_off(hard, END_PATIENCE).await;
                self.pass(&gate).await;
                self.end(None).await;
                true
            }
            Task::Die(reason) => {
                self.set(|instance| {
                    instance.state = InstanceState::ShuttingDown;
                    instance.transition.clone_from(&reason.code);
                    instance.reachable = false;
                })
                .await;
                let gate = Gate::new(self.fleet.pace.shutting_down, None);
                self.power_off(true, END_PATIENCE).await;
                self.pass(&gate).await;
                self.end(Some(reason)).await;
                true
            }
            Task::Capture(capture) => {
                self.capture(capture).await;
                false
            }
        }
    }

    /// The machine ended though nobody here ended it.
    async fn went_off(&mut self, reason: OffReason) -> bool {
        self.forget_machine();
        match self.with(|instance| (instance.state, instance.on_shutdown)) {
            // The order that moved it on is in the queue and will find it off.
            Some((InstanceState::Stopping | InstanceState::ShuttingDown, _)) | None => false,
            Some((_, on_shutdown)) => {
                let (reason, transition) = match reason {
                    OffReason::GuestShutdown => (
                        Reason::new(
                            "Client.InstanceInitiatedShutdown",
                            "Instance initiated shutdown",
                        ),
                        format!("Instance initiated ({})", gmt(Timestamp::now())),
                    ),
                    other => (
                        Reason::new("Server.InternalError", other),
                        "Server.InternalError".to_owned(),
                    ),
                };
                if on_shutdown == OnShutdown::Terminate {
                    self.set(|instance| instance.transition = transition).await;
                    self.end(Some(reason)).await;
                    true
                } else {
                    self.stopped(reason, &transition).await;
                    false
                }
            }
        }
    }

    async fn capture(&mut self, capture: Capture) {
        let fleet = Arc::clone(&self.fleet);
        if self.machine.is_none() || !capture.reboot {
            // Orders go on meanwhile; a start waits for the copy.
            self.copies
                .spawn(async move { fleet.capture(capture).await });
            return;
        }
        self.set(|instance| instance.reachable = false).await;
        match self.power_off(false, STOP_PATIENCE).await {
            Some(OffReason::GuestShutdown | OffReason::Killed) | None => {
                fleet.capture(capture).await;
            }
            Some(other) => {
                let why = format!("the instance could not be shut down cleanly: {other}");
                let why = Reason::new("Server.InternalError", why);
                fleet.capture_failed(&capture, why).await;
            }
        }
        let moved_on = self
            .with(|instance| instance.state != InstanceState::Running)
            .unwrap_or(true);
        if !moved_on && let Err(NoStart(reason)) = self.start(Gate::default()).await {
            self.stopped(reason, "Server.InternalError").await;
        }
    }

    async fn power_off(&mut self, hard: bool, patience: Duration) -> Option<OffReason> {
        let machine = self.machine.clone()?;
        let reason = if hard {
            machine.kill().await
        } else {
            machine.power_off(patience).await
        };
        self.forget_machine();
        Some(reason)
    }

    fn forget_machine(&mut self) {
        if let Some(rise) = self.rise.take() {
            rise.abort();
        }
        if let Some(machine) = self.machine.take() {
            let mut view = lock(&self.view);
            view.machine = None;
            view.last_console = tail(machine.console());
        }
    }

    async fn stopped(&self, reason: Reason, transition: &str) {
        stopped(&self.fleet, &self.region, &self.id, reason, transition).await;
    }

    async fn pass(&self, gate: &Gate) {
        tokio::select! {
            () = gate.pass() => {}
            () = self.fleet.closing.cancelled() => {}
        }
    }

    /// The instance is over: its volumes go as the launch said.
    async fn end(&mut self, reason: Option<Reason>) {
        self.settle_copies().await;
        if self.fleet.closing.is_cancelled() {
            return;
        }
        let id = self.id.clone();
        let disks = self
            .fleet
            .store
            .change_and_save(|world| {
                let region = world.region(&self.region);
                if let Some(instance) = region.instances.get_mut(&id) {
                    instance.state = InstanceState::Terminated;
                    instance.ended = Some(Timestamp::now());
                    instance.reachable = false;
                    instance.ssh_port = None;
                    if let Some(reason) = reason {
                        if instance.transition.is_empty() {
                            instance.transition.clone_from(&reason.code);
                        }
                        instance.reason = Some(reason);
                    }
                }
                release_volumes(region, |instance| instance == id)
            })
            .await;
        for disk in disks {
            self.fleet.remove_disk(disk);
        }
        let _ = fs_err::tokio::remove_dir_all(self.dir()).await;
    }

    async fn settle_copies(&mut self) {
        while self.copies.join_next().await.is_some() {}
    }

    fn dir(&self) -> PathBuf {
        self.fleet.folder.machines().join(&self.id)
    }

    fn disk(&self, volume: &str) -> PathBuf {
        self.fleet.folder.disks().join(format!("{volume}.raw"))
    }

    fn with<T>(&self, look: impl FnOnce(&Instance) -> T) -> Option<T> {
        self.fleet.store.read(|world| {
            world
                .regions
                .get(&self.region)?
                .instances
                .get(&self.id)
                .map(look)
        })
    }

    async fn set(&self, change: impl FnOnce(&mut Instance)) {
        self.fleet
            .store
            .change_and_save(|world| {
                if let Some(instance) = world.instance(&self.region, &self.id) {
                    change(instance);
                }
            })
            .await;
    }
}

fn internal(why: impl std::fmt::Display) -> Reason {
    Reason::new("Server.InternalError", why)
}

fn no_snapshot() -> Reason {
    Reason::new(
        "Client.InvalidSnapshot.NotFound",
        "The snapshot of a volume does not exist",
    )
}

/// The volumes that a machine has besides its root.
fn data_disks(region: &RegionState, instance: &Instance) -> Vec<DataDisk> {
    let volumes = region.volumes_of(instance).into_iter();
    let further = volumes.filter(|(volume, _)| volume.id != instance.root_volume);
    further
        .map(|(volume, attachment)| DataDisk {
            device: attachment.device.clone(),
            // As Nitro shows the id of a volume to its guest.
            serial: volume.id.replace('-', ""),
            disk: volume.disk.clone(),
        })
        .collect()
}

/// Why nothing can be captured any more.
pub(super) fn instance_gone() -> Reason {
    Reason::new(
        "Client.InstanceTerminated",
        "The instance was terminated before it could be captured",
    )
}

async fn off(machine: Option<&Machine>) -> OffReason {
    match machine {
        Some(machine) => machine.off().await,
        None => pending().await,
    }
}

/// The instance has no machine now and may be started again.
async fn stopped(fleet: &Fleet, region: &str, id: &str, reason: Reason, transition: &str) {
    fleet
        .store
        .change_and_save(|world| {
            if let Some(instance) = world.instance(region, id)
                && matches!(
                    instance.state,
                    InstanceState::Stopping | InstanceState::Running | InstanceState::Pending
                )
            {
                instance.state = InstanceState::Stopped;
                instance.reason = Some(reason);
                transition.clone_into(&mut instance.transition);
                instance.ssh_port = None;
                instance.reachable = false;
            }
        })
        .await;
}

/// Brings an instance whose machine has started to running, and then to its
/// status checks.
async fn rise(fleet: Arc<Fleet>, region: String, id: String, machine: Machine, gate: Gate) {
    tokio::select! {
        () = gate.pass() => {}
        () = fleet.closing.cancelled() => return,
    }
    fleet
        .store
        .change_and_save(|world| {
            // An order that came while it started has already moved it on.
            if let Some(instance) = world.instance(&region, &id)
                && instance.state == InstanceState::Pending
            {
                instance.state = InstanceState::Running;
            }
        })
        .await;
    tokio::select! {
        () = tokio::time::sleep(fleet.pace.checks) => {}
        () = fleet.closing.cancelled() => return,
    }
    probe(fleet, region, id, machine).await;
}

/// Looks until the machine's SSH server says its name; that is what the
/// instance status reports. A connection alone would prove nothing: the
/// network of a virtual machine accepts before its guest does.
async fn probe(fleet: Arc<Fleet>, region: String, id: String, machine: Machine) {
    let address = machine.ssh_address();
    let answers = async {
        loop {
            let hello = async {
                let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
                let mut name = [0_u8; 4];
                stream.read_exact(&mut name).await.ok()?;
                (&name == b"SSH-").then_some(())
            };
            if let Ok(Some(())) = tokio::time::timeout(Duration::from_secs(5), hello).await {
                return;
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    };
    tokio::select! {
        () = answers => fleet.store.change(|world| {
            if let Some(instance) = world.instance(&region, &id)
                && instance.state == InstanceState::Running
            {
                instance.reachable = true;
            }
        }),
        _ = machine.off() => {}
        () = fleet.closing.cancelled() => {}
    }
}

/// `User initiated (2026-11-22 10:00:00 GMT)`
pub(crate) fn user_initiated() -> String {
    format!("User initiated ({})", gmt(Timestamp::now()))
}

fn gmt(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S GMT").to_string()
}
