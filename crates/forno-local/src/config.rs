//! What an embedding program says about the endpoint that it starts. Plain
//! values: nothing here reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::faults::FaultPlan;
use crate::pace::Pace;

/// The region that holds the public Debian image, unless told otherwise.
pub const DEFAULT_REGION: &str = "us-east-1";

/// Settings of one endpoint.
#[derive(Debug, Clone)]
pub struct Config {
    /// Images, snapshots, tags, credentials and the lock. Made with mode 0700.
    pub state_dir: PathBuf,
    /// The made Debian disk, shared by all state folders of a user.
    pub cache_dir: PathBuf,
    /// Where to listen; `None` is an ephemeral port on 127.0.0.1. Anything
    /// but a loopback address is refused.
    pub listen: Option<SocketAddr>,
    /// The region that holds the public Debian image.
    pub region: String,
    /// What stands behind RunInstances.
    pub machine: MachineChoice,
    /// Debian mirror for the source image; `None` takes the host's apt sources.
    pub mirror: Option<String>,
    /// CA bundle handed to the making of the source image.
    pub ca_bundle: Option<PathBuf>,
    /// The binary whose hidden modes (guardian, metadata relay) machines need;
    /// `None` is the running executable. It must call
    /// `forno_machine::helper_main` first thing.
    pub helper_exe: Option<PathBuf>,
    /// What goes wrong on purpose.
    pub faults: FaultPlan,
    /// How long states last at least.
    pub pace: Pace,
    /// Who runs this endpoint; told to a second start on the same folder.
    pub mode: Mode,
}

impl Config {
    /// The defaults for the two folders.
    pub fn new(state_dir: impl Into<PathBuf>, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            cache_dir: cache_dir.into(),
            listen: None,
            region: DEFAULT_REGION.to_owned(),
            machine: MachineChoice::Auto,
            mirror: None,
            ca_bundle: None,
            helper_exe: None,
            faults: FaultPlan::default(),
            pace: Pace::INSTANT,
            mode: Mode::Embedded,
        }
    }
}

/// What stands behind RunInstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineChoice {
    /// A VM where KVM really works, else a container for root, else a slow VM.
    Auto,
    /// `forno_machine::Kind::Vm`
    Vm,
    /// `forno_machine::Kind::Container`
    Container,
    /// `forno_machine::Kind::Stub`
    Stub,
}

/// How the endpoint runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In the foreground for any client (`forno local serve`).
    Serve,
    /// Inside another program, for itself (`forno bake --local`).
    Embedded,
}

/// What starting has come to; shown while the source image is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is being done, for people.
    pub message: String,
    /// Part done, 0 to 1, where it is known.
    pub fraction: Option<f32>,
}
