//! The life of a virtual machine.
//!
//! SSH is forwarded only after the console shows that the guest is up: QEMU's
//! user network accepts connections at once and queues them, and a guest that
//! finds dozens of them waiting is starved by its own SSH server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::args::{self, Accelerator};
use super::kvm;
use super::qmp::{Event, Qmp};
use crate::doctor::Kvm;
use crate::guardian::{Exit, Guardian, Process, SignalName, Spawn};
use crate::net::choose_ssh_port;
use crate::run::{Life, Order};
use crate::{Error, ErrorKind, Kind, Machine, MachineSpec, OffReason, Status, run};

const QMP_DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
/// A guest without a serial login is forwarded to after this time anyway.
const FORWARD_ANYWAY: Duration = Duration::from_mins(4);
/// A guest that does not heed a restart is reset after this time, as on EC2.
const RESTART_PATIENCE: Duration = Duration::from_mins(4);
/// Under working KVM a kernel is through with itself within two or three
/// seconds.
const KVM_WATCHDOG: Duration = Duration::from_secs(30);
/// How long QEMU may take to end after it said that it will.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// What a virtual machine needs of its host.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub guardian: Arc<Guardian>,
    pub helper_exe: PathBuf,
    pub memory: kvm::Memory,
}

/// One start of QEMU.
struct Running {
    process: Process,
    qmp: Qmp,
    events: mpsc::UnboundedReceiver<Event>,
    started: Instant,
    forwarded: bool,
    /// Set while it is not yet certain that the guest comes up under KVM.
    on_trial: bool,
    /// Why QEMU says that it ends.
    farewell: Option<String>,
    panicked: bool,
    /// Set when a restart was asked for: when the guest is forced.
    restart_by: Option<Instant>,
}

/// Starts a virtual machine.
pub(crate) async fn launch(ground: Ground, spec: MachineSpec) -> Result<Machine, Error> {
    run::prepare(&spec)?;
    let ssh = choose_ssh_port(spec.public_address)?;
    let (life, machine) = Life::new(&spec, Kind::Vm, ssh);
    let running = start(&ground, &spec, &life).await?;
    life.enter(Status::Running);
    tokio::spawn(live(ground, spec, running, life));
    Ok(machine)
}

async fn start(ground: &Ground, spec: &MachineSpec, life: &Life) -> Result<Running, Error> {
    let (accelerator, on_trial) = match kvm::examine(&ground.memory) {
        Kvm::Proven => (Accelerator::Kvm, false),
        Kvm::Likely => (Accelerator::Kvm, true),
        Kvm::Broken(_) | Kvm::Absent(_) => (Accelerator::Tcg, false),
    };
    let console = life.shared.console.path();
    let socket = spec.dir.join(args::QMP_SOCKET);
    drop(fs_err::remove_file(&socket));
    let log = spec.dir.join("qemu.log");
    let mut process = ground
        .guardian
        .spawn(Spawn {
            argv: args::command(spec, &ground.helper_exe, console, accelerator)?,
            env: Vec::new(),
            cwd: spec.dir.clone(),
            output: log.clone(),
        })
        .await?;
    let (sender, events) = mpsc::unbounded_channel();
    let connected = tokio::select! {
        connected = Qmp::connect(&socket, sender, QMP_DEADLINE) => connected.map_err(|e| e.to_string()),
        exit = process.exited() => Err(exit.map_or_else(String::new, |exit| exit.to_string())),
    };
    match connected {
        Ok(qmp) => Ok(Running {
            process,
            qmp,
            events,
            started: Instant::now(),
            forwarded: false,
            on_trial,
            farewell: None,
            panicked: false,
            restart_by: None,
        }),
        Err(why) => {
            drop(ground.guardian.signal(process.pid, SignalName::Kill).await);
            let said = fs_err::read_to_string(&log).unwrap_or_default();
            let said = said
                .trim()
                .lines()
                .next_back()
                .unwrap_or_default()
                .to_owned();
            Err(Error::new(
                ErrorKind::Command,
                format!("QEMU did not start ({why}): {said}"),
            ))
        }
    }
}

/// How one run of QEMU ended.
enum Ended {
    Restarted,
    /// The guest did not come up under KVM.
    KvmFailed,
    Off(OffReason),
}

async fn live(ground: Ground, spec: MachineSpec, mut running: Running, mut life: Life) {
    let reason = loop {
        match supervise(&ground, &mut running, &mut life).await {
            Ended::Off(reason) => break reason,
            Ended::Restarted => life.enter(Status::Rebooting),
            Ended::KvmFailed => {
                tracing::warn!(
                    "a guest did not come up under KVM; emulation is used until this computer restarts"
                );
                ground.memory.remember(false);
            }
        }
        life.shared.console.begin_boot();
        match start(&ground, &spec, &life).await {
            Ok(next) => running = next,
            Err(error) => break OffReason::Failed(error.to_string()),
        }
        life.enter(Status::Running);
    };
    life.enter(Status::Off(reason));
}

async fn supervise(ground: &Ground, running: &mut Running, life: &mut Life) -> Ended {
    let mut killed = false;
    let mut look = running.started + LOOK;
    loop {
        tokio::select! {
            exit = running.process.exited() => {
                while let Ok(event) = running.events.try_recv() {
                    note(running, event);
                }
                return judge(exit, killed, running, life);
            }
            Some(event) = running.events.recv() => {
                let over = matches!(event, Event::Shutdown { .. });
                note(running, event);
                if over && running.farewell.as_deref() != Some("guest-reset") {
                    settle(ground, running).await;
                }
            }
            order = life.order() => {
                let done = match order {
                    Order::PowerOff => {
                        running.restart_by = None;
                        running.qmp.execute("system_powerdown", json!({})).await.map(drop)
                    }
                    // Machines have no button for restarts; it is powered off
                    // and on.
                    Order::Reboot => {
                        running.restart_by = Some(Instant::now() + RESTART_PATIENCE);
                        running.qmp.execute("system_powerdown", json!({})).await.map(drop)
                    }
                    Order::Kill => {
                        killed = true;
                        drop(ground.guardian.signal(running.process.pid, SignalName::Kill).await);
                        Ok(())
                    }
                };
                if let Err(error) = done {
                    tracing::warn!(machine = %life.shared.id, %error, ?order, "an order failed");
                }
            }
            () = sleep_until(look) => {
                if watch(ground, running, life).await {
                    drop(ground.guardian.signal(running.process.pid, SignalName::Kill).await);
                    running.process.exited().await;
                    return Ended::KvmFailed;
                }
                look = Instant::now() + LOOK;
            }
        }
    }
}

/// QEMU ends by itself after a shutdown; one that does not is ended.
async fn settle(ground: &Ground, running: &mut Running) {
    let ended = tokio::time::timeout(END_DEADLINE, running.process.exited()).await;
    if ended.is_err() {
        drop(
            ground
                .guardian
                .signal(running.process.pid, SignalName::Kill)
                .await,
        );
    }
}

fn note(running: &mut Running, event: Event) {
    match event {
        Event::Shutdown { reason } => running.farewell = Some(reason),
        Event::Panicked => running.panicked = true,
    }
}

fn judge(exit: Option<Exit>, killed: bool, running: &Running, life: &Life) -> Ended {
    if killed {
        return Ended::Off(OffReason::Killed);
    }
    let Some(exit) = exit else {
        return Ended::Off(OffReason::Failed("the guardian process is gone".to_owned()));
    };
    let panic = life.shared.console.panic_line().or_else(|| {
        running
            .panicked
            .then(|| "the guest reported a panic".to_owned())
    });
    if let Some(line) = panic {
        return Ended::Off(OffReason::Panic(line));
    }
    match running.farewell.as_deref() {
        Some("guest-reset" | "host-qmp-system-reset") => Ended::Restarted,
        Some("guest-shutdown") if running.restart_by.is_some() => Ended::Restarted,
        Some("guest-shutdown") => Ended::Off(OffReason::GuestShutdown),
        farewell => Ended::Off(OffReason::Failed(format!(
            "QEMU ended ({exit}, {})",
            farewell.unwrap_or("without a word")
        ))),
    }
}

/// Looks at the console. True: the guest does not come up under KVM.
async fn watch(ground: &Ground, running: &mut Running, life: &Life) -> bool {
    if running.on_trial {
        let text = life.shared.console.since_boot();
        if text.contains("Run /init as init process") || life.shared.console.shows_login() {
            running.on_trial = false;
            ground.memory.remember(true);
        } else if running.started.elapsed() > KVM_WATCHDOG {
            return true;
        }
    }
    if running.restart_by.is_some_and(|when| Instant::now() > when) {
        running.restart_by = None;
        if let Err(error) = running.qmp.execute("system_reset", json!({})).await {
            tracing::warn!(machine = %life.shared.id, %error, "a hung guest is not reset");
        }
    }
    if !running.forwarded
        && (life.shared.console.shows_login() || running.started.elapsed() > FORWARD_ANYWAY)
    {
        running.forwarded = true;
        if let Err(error) = forward(&mut running.qmp, life.shared.ssh).await {
            tracing::warn!(machine = %life.shared.id, %error, "SSH is not forwarded");
        }
    }
    false
}

async fn forward(qmp: &mut Qmp, ssh: SocketAddr) -> std::io::Result<()> {
    qmp.human(&format!(
        "hostfwd_add {} tcp:{}:{}-:22",
        args::NETDEV,
        ssh.ip(),
        ssh.port()
    ))
    .await
}
