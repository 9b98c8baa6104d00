//! One host per endpoint process: the guardian, the containers' shared network
//! and the kind of machines that it starts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use tokio::sync::{OnceCell, oneshot};

use crate::cgroup::Cgroups;
use crate::guardian::Guardian;
use crate::net::Vpc;
use crate::vm::KvmMemory;
use crate::{Error, ErrorKind, Kind, Machine, MachineSpec, Status, container, doctor, stub, vm};

/// What a host needs to know.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// A folder of its own for sockets, records and namespaces. Only one living
    /// host may have it; what a lost one left there is cleaned at the start.
    pub run_dir: PathBuf,
    /// Remembers what was proven about this computer (whether KVM works).
    pub cache_dir: PathBuf,
    /// The kind of its machines; none: what [`crate::doctor::examine`] picks.
    pub kind: Option<Kind>,
    /// The embedding binary, whose `main` calls [`crate::helper_main`].
    /// None: the running executable.
    pub helper_exe: Option<PathBuf>,
}

/// Starts machines and answers for their end. When it is dropped, or its
/// process ends in any way, its machines end too.
#[derive(Debug)]
pub struct Host {
    kind: Kind,
    run_dir: PathBuf,
    cache_dir: PathBuf,
    helper_exe: PathBuf,
    // None for stubs, which live in this process.
    guardian: Option<Arc<Guardian>>,
    cgroups: Cgroups,
    vpc: Arc<OnceCell<Arc<Vpc>>>,
    machines: Mutex<Vec<Machine>>,
    _lock: File,
}

impl Host {
    /// Starts the guardian and cleans what a lost predecessor left.
    pub async fn start(config: HostConfig) -> Result<Self, Error> {
        let kind = choose(config.kind, &config.cache_dir)?;
        fs_err::create_dir_all(&config.run_dir)
            .map_err(|e| Error::file("create", &config.run_dir, e))?;
        let run_dir = fs_err::canonicalize(&config.run_dir)
            .map_err(|e| Error::file("find", &config.run_dir, e))?;
        let lock = take(&run_dir)?;
        let helper_exe = match config.helper_exe {
            Some(exe) => exe,
            None => std::env::current_exe()
                .map_err(|e| Error::io("cannot find the running executable", e))?,
        };
        let cgroups = if kind == Kind::Container {
            Cgroups::of_host(&run_dir)
        } else {
            Cgroups::default()
        };
        let guardian = if kind == Kind::Stub {
            None
        } else {
            let guardian = Guardian::start(&helper_exe, &run_dir, cgroups.roots()).await?;
            cgroups.clear();
            remove_mount_points(&run_dir);
            Some(Arc::new(guardian))
        };
        Ok(Self {
            kind,
            run_dir,
            cache_dir: config.cache_dir,
            helper_exe,
            guardian,
            cgroups,
            vpc: Arc::default(),
            machines: Mutex::default(),
            _lock: lock,
        })
    }

    /// The kind of its machines.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts a machine. Returns when the guest runs (not when it has booted).
    /// Launches may run in parallel. A caller that stops waiting leaves no
    /// machine behind: one that comes up for nobody is killed.
    pub async fn launch(&self, spec: MachineSpec) -> Result<Machine, Error> {
        let machine = match (self.kind, &self.guardian) {
            (Kind::Container, Some(guardian)) => {
                let vpc = Arc::clone(&self.vpc);
                let guardian = Arc::clone(guardian);
                let cgroups = self.cgroups.clone();
                let run_dir = self.run_dir.clone();
                let helper_exe = self.helper_exe.clone();
                to_the_end(async move {
                    let vpc = vpc
                        .get_or_try_init(|| make_vpc(&guardian, &run_dir))
                        .await?;
                    let ground = container::Ground {
                        vpc: Arc::clone(vpc),
                        guardian,
                        cgroups,
                        run_dir,
                        helper_exe,
                    };
                    container::launch(ground, spec).await
                })
                .await?
            }
            (Kind::Vm, Some(guardian)) => {
                let ground = vm::Ground {
                    guardian: Arc::clone(guardian),
                    helper_exe: self.helper_exe.clone(),
                    memory: KvmMemory::of(&self.cache_dir),
                };
                to_the_end(vm::launch(ground, spec)).await?
            }
            _ => to_the_end(stub::launch(spec)).await?,
        };
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.retain(|other| !matches!(*other.status().borrow(), Status::Off(_)));
        machines.push(machine.clone());
        Ok(machine)
    }

    /// Kills all machines and ends the guardian. Returns when nothing is left.
    pub async fn shutdown(self) {
        let machines =
            std::mem::take(&mut *self.machines.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(machines.iter().map(Machine::kill)).await;
        if let Some(guardian) = &self.guardian {
            guardian.close().await;
        }
        // The guardian has done so already, unless it was lost.
        self.cgroups.clear();
        remove_mount_points(&self.run_dir);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Orders are only sent here; whoever must know that they were carried
        // out calls `shutdown`. The guardian ends the rest when its line closes.
        for machine in self
            .machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            machine.order_kill();
        }
        if let Some(guardian) = &self.guardian {
            guardian.close_soon();
        }
    }
}

/// The containers' network, made when the first of them starts.
async fn make_vpc(guardian: &Arc<Guardian>, run_dir: &Path) -> Result<Arc<Vpc>, Error> {
    container::prepare(guardian).await?;
    Vpc::start(Arc::clone(guardian), run_dir)
        .await
        .map(Arc::new)
}

/// Carries a launch to its end even when its caller does not wait for it.
async fn to_the_end(
    launch: impl Future<Output = Result<Machine, Error>> + Send + 'static,
) -> Result<Machine, Error> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(Ok(machine)) = sender.send(launch.await) {
            machine.kill().await;
        }
    });
    receiver.await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Invalid,
            "the runtime ended during a launch",
        ))
    })
}

fn choose(wanted: Option<Kind>, cache_dir: &Path) -> Result<Kind, Error> {
    let report = doctor::examine(cache_dir);
    let Some(kind) = wanted.or(report.choice) else {
        return Err(Error::new(ErrorKind::Unusable, report.reason.clone()));
    };
    let finding = report.finding(kind);
    if finding.usable {
        return Ok(kind);
    }
    let error = Error::new(
        if finding.packages.is_empty() {
            ErrorKind::Unusable
        } else {
            ErrorKind::MissingTool
        },
        format!(
            "machines of kind {kind} cannot run here: {}",
            finding.notes.join("; ")
        ),
    );
    Err(match finding.install_command() {
        Some(command) => error.with_hint(command),
        None => error,
    })
}

/// Removes the folders on which machines were mounted. Only empty folders can
/// be removed so.
fn remove_mount_points(run_dir: &Path) {
    let machines = run_dir.join("m");
    for entry in std::fs::read_dir(&machines).into_iter().flatten().flatten() {
        drop(fs_err::remove_dir(entry.path()));
    }
    drop(fs_err::remove_dir(machines));
    drop(fs_err::remove_dir(run_dir.join("ns")));
}

/// Takes a run folder; the lock is held as long as the file is open.
fn take(run_dir: &Path) -> Result<File, Error> {
    let path = run_dir.join("host.lock");
    let lock = File::create(&path).map_err(|e| Error::file("create", &path, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Invalid,
            format!("{} belongs to a host that is alive", run_dir.display()),
        )),
        Err(std::fs::TryLockError::Error(e)) => Err(Error::file("lock", &path, e)),
    }
}
