//! The life of a container, from its disk to a quiescent disk again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::data::{self, Held};
use super::root::{RootDisk, explain_log};
use crate::cgroup::Cgroups;
use crate::guardian::{Exit, Guardian, Process, SignalName, Spawn};
use crate::inside::Inside;
use crate::net::{Lease, RESOLVER, Vpc, choose_ssh_port, text};
use crate::run::{Life, Order};
use crate::spec::machine_uuid;
use crate::{Error, ErrorKind, Kind, Machine, MachineSpec, OffReason, Status, dial, helper, run};

/// From the command to the guest's first process.
const BEGIN_DEADLINE: Duration = Duration::from_mins(1);
/// nspawn's exit status when its guest restarts.
const RESTART: Exit = Exit::Code(133);

/// What a container needs of its host.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub guardian: Arc<Guardian>,
    pub vpc: Arc<Vpc>,
    pub cgroups: Cgroups,
    pub run_dir: PathBuf,
    pub helper_exe: PathBuf,
}

/// Everything that a running container consists of.
struct Parts {
    disk: RootDisk,
    data: Vec<Held>,
    lease: Lease,
    /// What carries metadata requests out of its network.
    relay: Helper,
    /// What connects to ports inside of it.
    dialler: Helper,
    guest: Process,
    guest_spawn: Spawn,
    mount_log: PathBuf,
}

/// A process of ours in a namespace of the container's; started again should it
/// end.
struct Helper {
    name: &'static str,
    spawn: Spawn,
    process: Process,
}

/// Where nspawn keeps locks and passages of its own, which it leaves behind.
const NSPAWN_STATE: &str = "/run/systemd/nspawn";

/// Makes the guardian's mount namespace ready for containers.
pub(crate) async fn prepare(guardian: &Guardian) -> Result<(), Error> {
    let script = "mkdir -p \"$1\" && mount -t tmpfs -o mode=0755 forno \"$1\"";
    guardian
        .run(&["sh", "-c", script, "sh", NSPAWN_STATE], "")
        .await
        .map(drop)
}

/// Starts a container.
pub(crate) async fn launch(ground: Ground, spec: MachineSpec) -> Result<Machine, Error> {
    run::prepare(&spec)?;
    let ssh = choose_ssh_port(spec.public_address)?;
    let (life, machine) = Life::new(&spec, Kind::Container, ssh);
    let disk = RootDisk::prepare(&ground.guardian, &spec.disk).await?;
    let data = data::hold(&ground.guardian, &spec.dir, &spec.data_disks).await?;
    let lease = match ground.vpc.join(&spec.id, spec.private_address, ssh).await {
        Ok(lease) => lease,
        Err(error) => {
            data::release(&ground.guardian, data).await?;
            return Err(error);
        }
    };
    let commands = commands(&ground, &spec, &life, &disk, &data, &lease);
    let started = match commands {
        Ok(commands) => start(&ground, commands).await,
        Err(error) => Err(error),
    };
    let Started {
        relay,
        dialler,
        guest,
        guest_spawn,
    } = match started {
        Ok(started) => started,
        Err(error) => {
            ground.vpc.leave(lease).await;
            ground.cgroups.remove(&spec.id);
            data::release(&ground.guardian, data).await?;
            return Err(error);
        }
    };
    let mut parts = Parts {
        disk,
        data,
        lease,
        relay,
        dialler,
        guest,
        guest_spawn,
        mount_log: mount_log(&spec),
    };
    if let Err(error) = begun(&ground.guardian, &mut parts, &life).await {
        take_apart(&ground, parts, &spec.id).await?;
        return Err(error);
    }
    life.up(inside(&ground, &parts, &life));
    tokio::spawn(live(ground, parts, life));
    Ok(machine)
}

fn mount_log(spec: &MachineSpec) -> PathBuf {
    spec.dir.join("mount.log")
}

struct Commands {
    relay: Spawn,
    dialler: Spawn,
    guest: Spawn,
}

struct Started {
    relay: Helper,
    dialler: Helper,
    guest: Process,
    guest_spawn: Spawn,
}

/// The commands of our processes and of the guest.
fn commands(
    ground: &Ground,
    spec: &MachineSpec,
    life: &Life,
    disk: &RootDisk,
    data: &[Held],
    lease: &Lease,
) -> Result<Commands, Error> {
    let namespace = text(&lease.namespace)?;
    let helper = |namespace: &str, mode: &str, log| {
        Ok::<_, Error>(Spawn {
            argv: [
                "nsenter",
                &format!("--net={namespace}"),
                text(&ground.helper_exe)?,
                mode,
            ]
            .map(str::to_owned)
            .into(),
            env: Vec::new(),
            cwd: spec.dir.clone(),
            output: spec.dir.join(log),
        })
    };
    let mut relay = helper(text(&lease.metadata)?, helper::RELAY_LISTEN, "relay.log")?;
    relay.argv.push(text(&spec.imds_socket)?.to_owned());
    for (port, socket) in &spec.services {
        relay
            .argv
            .extend([port.to_string(), text(socket)?.to_owned()]);
    }
    let mut dialler = helper(namespace, helper::DIAL_LISTEN, "dial.log")?;
    dialler.argv.push(dial::SOCKET.to_owned());
    let target = ground.run_dir.join("m").join(&spec.id);
    fs_err::create_dir_all(&target).map_err(|e| Error::file("create", &target, e))?;
    let mounting = disk.mounting(&target, &mount_log(spec))?;
    let cgroups = ground
        .cgroups
        .make(&spec.id, spec.vcpus, spec.memory_mib)
        .map_err(|e| Error::io("cannot make a control group", e))?;
    let guest = guest_command(spec, life, &target, namespace, &cgroups, mounting, data)?;
    Ok(Commands {
        relay,
        dialler,
        guest,
    })
}

async fn start(ground: &Ground, commands: Commands) -> Result<Started, Error> {
    let guardian = &ground.guardian;
    let relay = Helper::start(guardian, "metadata relay", commands.relay).await?;
    let dialler = match Helper::start(guardian, "dialler", commands.dialler).await {
        Ok(dialler) => dialler,
        Err(error) => {
            end(guardian, relay.process).await;
            return Err(error);
        }
    };
    match guardian.spawn(commands.guest.clone()).await {
        Ok(guest) => Ok(Started {
            relay,
            dialler,
            guest,
            guest_spawn: commands.guest,
        }),
        Err(error) => {
            end(guardian, dialler.process).await;
            end(guardian, relay.process).await;
            Err(error)
        }
    }
}

impl Helper {
    async fn start(guardian: &Guardian, name: &'static str, spawn: Spawn) -> Result<Self, Error> {
        let process = guardian.spawn(spawn.clone()).await?;
        Ok(Self {
            name,
            spawn,
            process,
        })
    }

    /// Puts another in its place.
    async fn replace(&mut self, guardian: &Guardian, machine: &str) {
        let name = self.name;
        tracing::warn!(machine, "the {name} ended; starting it again");
        sleep(Duration::from_millis(200)).await;
        match guardian.spawn(self.spawn.clone()).await {
            Ok(process) => self.process = process,
            Err(error) => tracing::warn!(%error, "no {name}"),
        }
    }
}

/// Waits until the guest's first process exists.
async fn begun(guardian: &Guardian, parts: &mut Parts, life: &Life) -> Result<(), Error> {
    let deadline = Instant::now() + BEGIN_DEADLINE;
    while guardian.leader(parts.guest.pid).await?.is_none() {
        tokio::select! {
            exit = parts.guest.exited() => {
                let Some(exit) = exit else { continue };
                return Err(explain_log(&parts.mount_log).unwrap_or_else(|| {
                    let words = life.shared.console.last_words();
                    Error::new(
                        ErrorKind::Command,
                        format!("systemd-nspawn did not start ({exit}): {words}"),
                    )
                }));
            }
            () = sleep(Duration::from_millis(5)) => {}
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::TimedOut,
                "systemd-nspawn does not start its guest",
            ));
        }
    }
    Ok(())
}

/// The command that boots the root. Nothing about the machine is written to its
/// disk: what differs from a virtual machine is bound over tmpfs or told to its
/// first process, so an image made from the disk boots anywhere.
fn guest_command(
    spec: &MachineSpec,
    life: &Life,
    root: &Path,
    namespace: &str,
    cgroups: &[PathBuf],
    mounting: Vec<String>,
    data: &[Held],
) -> Result<Spawn, Error> {
    let resolver = spec.dir.join("resolv.conf");
    write(&resolver, &format!("nameserver {RESOLVER}\n"))?;
    // By this an EC2 machine without readable DMI is known to its guest.
    let platform = spec.dir.join("platform-id");
    write(&platform, &format!("{}\n", machine_uuid(&spec.id)))?;
    let mut argv = vec![
        "sh".to_owned(),
        "-c".to_owned(),
        // Enters the control groups, then becomes what follows.
        "while [ \"$1\" != -- ]; do echo 0 > \"$1\" || exit 1; shift; done; shift; exec \"$@\""
            .to_owned(),
        "sh".to_owned(),
    ];
    for group in cgroups {
        argv.push(text(group)?.to_owned());
    }
    argv.push("--".to_owned());
    argv.extend(mounting);
    argv.extend(
        [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--settings=no",
            // A terminal of its own that nobody types into.
            "--console=read-only",
            &format!("--machine={}", spec.id),
            &format!("--directory={}", text(root)?),
            &format!("--network-namespace-path={namespace}"),
            &format!(
                "--bind-ro={}:/run/systemd/resolve/stub-resolv.conf",
                escape(text(&resolver)?)
            ),
            &format!(
                "--bind-ro={}:/sys/hypervisor/uuid",
                escape(text(&platform)?)
            ),
        ]
        .map(str::to_owned),
    );
    argv.extend(data.iter().flat_map(Held::binds));
    argv.extend(
        [
            "--boot",
            "--",
            // The network stands already; nobody in the guest is to touch it.
            "systemd.mask=systemd-networkd.service",
            "systemd.mask=systemd-networkd.socket",
            "systemd.mask=systemd-networkd-wait-online.service",
            "systemd.mask=systemd-resolved.service",
            "network-config=disabled",
        ]
        .map(str::to_owned),
    );
    Ok(Spawn {
        argv,
        // A /sys of the container's own, in which the platform can be told.
        env: vec![(
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE".to_owned(),
            "network".to_owned(),
        )],
        cwd: spec.dir.clone(),
        output: life.shared.console.path().to_owned(),
    })
}

/// nspawn separates the parts of a bind with colons.
fn escape(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

fn write(path: &Path, content: &str) -> Result<(), Error> {
    fs_err::write(path, content).map_err(|e| Error::file("write", path, e))
}

enum Event {
    Exited(Exit),
    RelayExited,
    DiallerExited,
    Ordered(Order),
    GuardianLost,
}

async fn live(ground: Ground, mut parts: Parts, mut life: Life) {
    let mut killed = false;
    let reason = loop {
        let event = tokio::select! {
            exit = parts.guest.exited() => exit.map_or(Event::GuardianLost, Event::Exited),
            Some(_) = parts.relay.process.exited() => Event::RelayExited,
            Some(_) = parts.dialler.process.exited() => Event::DiallerExited,
            order = life.order() => Event::Ordered(order),
        };
        match event {
            Event::GuardianLost => {
                break OffReason::Failed("the guardian process is gone".to_owned());
            }
            Event::Exited(_) if killed => break OffReason::Killed,
            Event::Exited(RESTART) => {
                life.enter(Status::Rebooting);
                if let Err(error) = restart(&ground, &mut parts, &life).await {
                    break OffReason::Failed(error.to_string());
                }
                life.up(inside(&ground, &parts, &life));
            }
            Event::Exited(exit) if exit.success() => break OffReason::GuestShutdown,
            Event::Exited(exit) => {
                let words = life.shared.console.last_words();
                break OffReason::Failed(format!("systemd-nspawn ended ({exit}): {words}"));
            }
            Event::RelayExited => {
                parts.relay.replace(&ground.guardian, &life.shared.id).await;
            }
            Event::DiallerExited => {
                parts
                    .dialler
                    .replace(&ground.guardian, &life.shared.id)
                    .await;
            }
            Event::Ordered(order) => {
                killed |= order == Order::Kill;
                if let Err(error) = carry_out(&ground.guardian, &parts.guest, order).await {
                    tracing::warn!(machine = %life.shared.id, %error, ?order, "an order failed");
                }
            }
        }
    };
    let id = life.shared.id.clone();
    let reason = match take_apart(&ground, parts, &id).await {
        Ok(()) => reason,
        Err(error) => OffReason::Failed(format!("{reason}, and then: {error}")),
    };
    life.enter(Status::Off(reason));
}

/// The way into the boot that there is now.
fn inside(ground: &Ground, parts: &Parts, life: &Life) -> Inside {
    let console = life.shared.console.path();
    Inside::Container {
        guardian: Arc::clone(&ground.guardian),
        guest: parts.guest.pid,
        dir: console.parent().unwrap_or(console).to_owned(),
    }
}

async fn restart(ground: &Ground, parts: &mut Parts, life: &Life) -> Result<(), Error> {
    // Two devices on one disk would destroy it.
    parts.disk.released().await?;
    life.shared.console.begin_boot();
    parts.guest = ground.guardian.spawn(parts.guest_spawn.clone()).await?;
    begun(&ground.guardian, parts, life).await
}

async fn carry_out(guardian: &Guardian, guest: &Process, order: Order) -> Result<(), Error> {
    // A guest that was just started has no first process yet, and nspawn does
    // not listen before it has.
    let mut leader = guardian.leader(guest.pid).await?;
    for _ in 0..100 {
        if leader.is_some() || order == Order::Kill {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        leader = guardian.leader(guest.pid).await?;
    }
    match (order, leader) {
        // nspawn asks its guest to power off.
        (Order::PowerOff, _) => guardian.signal(guest.pid, SignalName::Term).await,
        // As if somebody pressed Ctrl-Alt-Del.
        (Order::Reboot, Some(leader)) => guardian.signal(leader, SignalName::Int).await,
        (Order::Reboot, None) => Ok(()),
        (Order::Kill, leader) => {
            if let Some(leader) = leader {
                guardian.signal(leader, SignalName::Kill).await?;
            }
            guardian.signal(guest.pid, SignalName::Kill).await
        }
    }
}

async fn end(guardian: &Guardian, mut process: Process) {
    if guardian.signal(process.pid, SignalName::Kill).await.is_ok() {
        process.exited().await;
    }
}

/// Ends whatever is left of a container. The disk is quiescent afterwards.
async fn take_apart(ground: &Ground, parts: Parts, id: &str) -> Result<(), Error> {
    end(&ground.guardian, parts.dialler.process).await;
    end(&ground.guardian, parts.relay.process).await;
    end(&ground.guardian, parts.guest).await;
    ground.vpc.leave(parts.lease).await;
    data::release(&ground.guardian, parts.data).await?;
    parts.disk.released().await?;
    ground.cgroups.remove(id);
    drop(fs_err::remove_dir(ground.run_dir.join("m").join(id)));
    Ok(())
}
