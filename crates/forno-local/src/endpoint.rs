//! The running endpoint: what is started in which order, and ended in which.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forno_machine::{Host, HostConfig, Kind};
use fs_err as fs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, MachineChoice, Mode, Progress};
use crate::credentials::Credentials;
use crate::ebs::Assemblies;
use crate::error::Error;
use crate::faults::{CallRecord, FaultPlan, Regime};
use crate::fleet::{Fleet, bury};
use crate::service::{Line, Lines, Service, machine_router, router};
use crate::sessions::Sessions;
use crate::source::Source;
use crate::ssm::Memory;
use crate::state::folder::{Folder, read_json, write_json};
use crate::state::regions::{REGIONS, Region};
use crate::state::store::Store;
use crate::state::types::HostLimits;

/// The port of 169.254.169.254 at which machines reach objects.
pub(crate) const MACHINE_PORT: u16 = 9000;

/// How long open connections may delay the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// A pocket EC2 that runs in this process until [`PocketEc2::shutdown`].
///
/// Without that call its machines end when the process does, however it ends.
#[derive(Debug)]
pub struct PocketEc2 {
    info: EndpointInfo,
    machine: Kind,
    service: Arc<Service>,
    folder: Arc<Folder>,
    server: JoinHandle<()>,
    machine_server: JoinHandle<()>,
}

/// What `endpoint.json` in the state folder says while an endpoint runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Base URL for every service.
    pub url: String,
    /// Base URL at which its machines reach objects, with presigned requests.
    pub machine_url: String,
    /// The region with the Debian image.
    pub region: String,
    /// The process.
    pub pid: u32,
    /// Whether others may use it.
    pub mode: Mode,
}

/// The endpoint that runs on a state folder now, if any. Reads files only.
pub fn running_endpoint(state_dir: &Path) -> Result<Option<(EndpointInfo, Credentials)>, Error> {
    if !Folder::is_held(state_dir) {
        return Ok(None);
    }
    let info = read_json(&state_dir.join("endpoint.json"))?;
    let credentials = read_json(&state_dir.join("credentials.json"))?;
    Ok(info.zip(credentials))
}

impl PocketEc2 {
    /// Takes the state folder's lock, makes the source image where it is
    /// missing, and answers requests from then on.
    pub async fn start(
        config: Config,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Self, Error> {
        if Region::find(&config.region).is_none() {
            let known = REGIONS.iter().map(|region| region.name).collect();
            return Err(Error::UnknownRegion {
                region: config.region,
                known,
            });
        }
        let address = config
            .listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback { address });
        }
        let folder = Arc::new(Folder::take(&config.state_dir)?);
        // Of an endpoint that was killed; nobody must find it while this one starts.
        remove(&folder.endpoint_file())?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::Listen { address, source })?;
        let machines = folder.machines_socket();
        remove(&machines)?;
        let machines = UnixListener::bind(&machines).map_err(|source| Error::Io {
            what: "listen on",
            path: machines,
            source,
        })?;
        let credentials = Credentials::load_or_make(&folder.credentials_file())?;
        let store = Arc::new(Store::open(folder.state_file())?);
        let host = start_host(&config, &folder).await?;
        let machine = host.kind();
        let made = Source::make(&config, &folder, machine, progress).await;
        let prepared = made.and_then(|source| {
            let now = Timestamp::now();
            store.change(|world| {
                source.register(world, &config.region, &config.state_dir, now)?;
                bury(world, &folder, now);
                Ok::<(), Error>(())
            })?;
            store.save()
        });
        if let Err(error) = prepared {
            host.shutdown().await;
            return Err(error);
        }
        let sessions = Arc::new(Sessions::default());
        let fleet = Fleet::new(
            Arc::clone(&store),
            Arc::clone(&sessions),
            Arc::clone(&folder),
            host,
            HostLimits::of_this_computer(),
            config.pace,
        );
        let service = Arc::new(Service {
            url: format!("http://{address}"),
            credentials,
            sessions,
            store,
            fleet,
            regime: Regime::new(config.faults, config.pace.hidden),
            memory: Memory::default(),
            assemblies: Assemblies::default(),
            ending: CancellationToken::new(),
        });
        let info = EndpointInfo {
            machine_url: match machine {
                // A stub is a part of this computer.
                Kind::Stub => format!("http://{address}"),
                Kind::Container | Kind::Vm => format!("http://169.254.169.254:{MACHINE_PORT}"),
            },
            url: format!("http://{address}"),
            region: config.region,
            pid: std::process::id(),
            mode: config.mode,
        };
        write_json(&folder.endpoint_file(), &info)?;
        let server = serve(listener, Arc::clone(&service));
        let machine_server = serve_machines(machines, Arc::clone(&service));
        tracing::info!(url = info.url, machine = %machine, "pocket EC2 answers");
        Ok(Self {
            info,
            machine,
            service,
            folder,
            server,
            machine_server,
        })
    }

    /// `http://127.0.0.1:port`
    pub fn endpoint_url(&self) -> &str {
        &self.info.url
    }

    /// The base URL that a presigned request must be made for if a machine is to
    /// follow it: a machine's loopback is not this computer's.
    pub fn machine_endpoint(&self) -> &str {
        &self.info.machine_url
    }

    /// What clients sign with.
    pub fn credentials(&self) -> &Credentials {
        &self.service.credentials
    }

    /// The region with the Debian image.
    pub fn region(&self) -> &str {
        &self.info.region
    }

    /// The whole of `endpoint.json`.
    pub fn info(&self) -> &EndpointInfo {
        &self.info
    }

    /// The kind of its machines.
    pub fn machine(&self) -> Kind {
        self.machine
    }

    /// The plan of faults in force.
    pub fn faults(&self) -> FaultPlan {
        self.service.regime.plan()
    }

    /// Puts a plan of faults in force instead of the one before. What that one
    /// hid is seen, what it held comes loose, and counting begins anew.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.service.regime.set(plan);
    }

    /// The calls whose signature was believed, oldest first, since the start or
    /// since [`PocketEc2::clear_calls`]; the newest ten thousand of them.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.service.regime.calls()
    }

    /// Forgets all calls; counting begins anew.
    pub fn clear_calls(&self) {
        self.service.regime.clear_calls();
    }

    /// Returns once an entry of the plan, counted from 1, has struck so many
    /// times since the plan was set: the call was refused or its connection
    /// reset, its work is done and its reply is under way, or it is held. Of a
    /// plan without that entry it waits for another plan.
    pub async fn fault_struck(&self, entry: usize, times: u64) {
        self.service.regime.struck(entry, times).await;
    }

    /// Ends every machine, writes the state, gives the folder back.
    pub async fn shutdown(self) -> Result<(), Error> {
        remove(&self.folder.endpoint_file())?;
        self.service.ending.cancel();
        let mut server = self.server;
        if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
            server.abort();
        }
        self.machine_server.abort();
        self.service.fleet.shutdown().await;
        remove(&self.folder.machines_socket())?;
        let (store, folder) = (Arc::clone(&self.service.store), Arc::clone(&self.folder));
        store.change(|world| bury(world, &folder, Timestamp::now()));
        store.save()
    }
}

async fn start_host(config: &Config, folder: &Folder) -> Result<Host, Error> {
    let kind = match config.machine {
        MachineChoice::Auto => None,
        MachineChoice::Vm => Some(Kind::Vm),
        MachineChoice::Container => Some(Kind::Container),
        MachineChoice::Stub => Some(Kind::Stub),
    };
    let host = HostConfig {
        run_dir: folder.host(),
        cache_dir: config.cache_dir.clone(),
        kind,
        helper_exe: config.helper_exe.clone(),
    };
    Host::start(host)
        .await
        .map_err(|source| Error::machine("prepare machines", source))
}

fn serve(listener: TcpListener, service: Arc<Service>) -> JoinHandle<()> {
    let ending = service.ending.clone();
    let services = router(service).into_make_service_with_connect_info::<Line>();
    tokio::spawn(async move {
        let served = axum::serve(Lines(listener), services)
            .with_graceful_shutdown(ending.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "endpoint ended");
        }
    })
}

/// The folder is private, and so is the socket in it.
fn serve_machines(listener: UnixListener, service: Arc<Service>) -> JoinHandle<()> {
    let services = machine_router(service).into_make_service_with_connect_info::<Line>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(Lines(listener), services).await {
            tracing::error!(%error, "machines reach no objects any more");
        }
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            what: "remove",
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}
