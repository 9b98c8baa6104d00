//! What a caller says about a machine, and what it learns of its life.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind};

/// The three kinds of machines. All start from the same raw disk, except that a
/// stub's disk is a small archive of its scratch folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// QEMU, with KVM where it is proven to work, else emulated.
    Vm,
    /// systemd-nspawn over the loop-mounted disk; needs root.
    Container,
    /// An SSH server in this process; for tests of what stands above machines.
    Stub,
}

impl Kind {
    /// All kinds, in the order in which `auto` would like them.
    pub const ALL: [Self; 3] = [Self::Vm, Self::Container, Self::Stub];

    /// The lower-case word for this kind, as settings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Container => "container",
            Self::Stub => "stub",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == s)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("no kind of machine is called {s:?}"),
                )
                .with_hint("the kinds are vm, container and stub")
            })
    }
}

/// Everything a machine needs to start.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// The name under which the caller knows it (`i-0…`); letters, digits, `-`.
    pub id: String,
    /// The machine's own folder: console log, sockets, scratch. Made if missing.
    pub dir: PathBuf,
    /// A raw sparse disk, exclusively this machine's while it lives.
    pub disk: PathBuf,
    /// Its other disks. A stub does not show them to its guest.
    pub data_disks: Vec<DataDisk>,
    /// Processors it may use.
    pub vcpus: u32,
    /// Memory it may use.
    pub memory_mib: u32,
    /// A loopback address (127.x.y.z) of its own: SSH answers there.
    pub public_address: Ipv4Addr,
    /// Its address in 172.31.0.0/16. Containers of one host reach each other by
    /// it. 172.31.0.1 to 172.31.0.3 and 172.31.0.100 belong to the network.
    pub private_address: Ipv4Addr,
    /// The unix socket where this machine's metadata is answered in HTTP/1.1.
    /// It must be listening before the launch.
    pub imds_socket: PathBuf,
    /// Further ports of 169.254.169.254, each with the unix socket where it is
    /// answered.
    pub services: Vec<(u16, PathBuf)>,
}

/// A disk besides the one that a machine boots from: raw, sparse, exclusively its machine's
/// while that lives.
#[derive(Debug, Clone)]
pub struct DataDisk {
    /// The device under which a container's guest finds it, such as `/dev/sdf`. A virtual
    /// machine's guest gives names of its own, `/dev/nvme0n1` and on.
    pub device: String,
    /// By this a virtual machine's guest can tell it (`lsblk -o NAME,SERIAL`); at most 20
    /// letters and digits.
    pub serial: String,
    /// Where it lies.
    pub disk: PathBuf,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Being put together; the guest does not run yet.
    Starting,
    /// The guest runs. Says nothing about SSH: see [`crate::Machine::booted`].
    Running,
    /// The guest restarts, on the same disk and with the same addresses.
    Rebooting,
    /// Over. Nothing of it is left but its folder, and its disk is quiescent.
    Off(OffReason),
}

/// Why a machine is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OffReason {
    /// The guest powered itself off, by itself or because it was asked to.
    GuestShutdown,
    /// It was killed, or did not power off within the patience it was given.
    Killed,
    /// The guest's kernel panicked; the last line of its console about it.
    Panic(String),
    /// Something under the guest failed.
    Failed(String),
}

impl fmt::Display for OffReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GuestShutdown => f.write_str("powered off by its guest"),
            Self::Killed => f.write_str("killed"),
            Self::Panic(line) => write!(f, "kernel panic: {line}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// The hardware address that a machine with this private address has, in the
/// form `02:xx:xx:xx:xx:xx` that metadata uses.
pub fn mac_address(private_address: Ipv4Addr) -> String {
    let [a, b, c, d] = private_address.octets();
    format!("02:f0:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A uuid that begins as EC2's do, steady for a machine: by it a guest knows
/// where it is.
pub(crate) fn machine_uuid(id: &str) -> String {
    let digest = hex::encode(Sha256::digest(id.as_bytes()));
    format!(
        "ec2{}-{}-4{}-8{}-{}",
        &digest[..5],
        &digest[5..9],
        &digest[9..12],
        &digest[12..15],
        &digest[15..27]
    )
}
