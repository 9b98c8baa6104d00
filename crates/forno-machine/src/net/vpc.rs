//! The network that the containers of one host share.
//!
//! One network namespace holds a bridge; slirp4netns plugs a tap into it, which
//! is the way out, and each container a veth. So machines have their private
//! addresses, reach each other and the outside, and this computer's own
//! interfaces and firewall are not touched.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::slirp;
use crate::guardian::{Guardian, Process, Spawn};
use crate::relay::METADATA_ADDRESS;
use crate::{Error, ErrorKind, mac_address};

const PREFIX: u8 = 16;
const NETWORK: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 0);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
/// Answers DNS with this computer's own resolver.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 3);
/// The largest frame that slirp4netns passes: fewer packets, more speed.
const MTU: u32 = 65520;
/// The link over which a machine reaches its metadata service.
const METADATA_LINK: &str = "imds";
const START_DEADLINE: Duration = Duration::from_secs(20);

/// The shared network.
#[derive(Debug)]
pub(crate) struct Vpc {
    guardian: Arc<Guardian>,
    /// On a tmpfs of the guardian's own; network namespaces are pinned here.
    namespaces: PathBuf,
    api: PathBuf,
    // Kept for its watch; the process ends with the guardian.
    _slirp: Process,
    leased: Mutex<Vec<Ipv4Addr>>,
}

/// A machine's place in the network.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its network namespace, complete with addresses and routes.
    pub namespace: PathBuf,
    /// Where its metadata service listens: a namespace beside its own, so that
    /// the machine itself may listen on port 80 of every address it has.
    pub metadata: PathBuf,
    address: Ipv4Addr,
    link: String,
    forward: u64,
}

impl Vpc {
    /// Makes the network.
    pub(crate) async fn start(guardian: Arc<Guardian>, run_dir: &Path) -> Result<Self, Error> {
        let namespaces = run_dir.join("ns");
        fs_err::create_dir_all(&namespaces).map_err(|e| Error::file("create", &namespaces, e))?;
        guardian
            .run(
                &[
                    "mount",
                    "-t",
                    "tmpfs",
                    "-o",
                    "mode=0700",
                    "forno",
                    text(&namespaces)?,
                ],
                "",
            )
            .await?;
        let shared = namespaces.join("vpc");
        make_namespace(&guardian, &shared).await?;
        in_namespace(
            &guardian,
            &shared,
            &format!("link set lo up\nlink add br0 type bridge\nlink set br0 mtu {MTU} up\n"),
        )
        .await?;
        let api = run_dir.join("slirp.sock");
        drop(fs_err::remove_file(&api));
        let log = run_dir.join("slirp.log");
        let mut slirp = guardian
            .spawn(Spawn {
                argv: [
                    "slirp4netns",
                    &format!("--mtu={MTU}"),
                    &format!("--cidr={NETWORK}/{PREFIX}"),
                    "--disable-host-loopback",
                    // Relative: a unix socket's path must be short.
                    "--api-socket=slirp.sock",
                    "--netns-type=path",
                    text(&shared)?,
                    "tap0",
                ]
                .map(str::to_owned)
                .into(),
                env: Vec::new(),
                cwd: run_dir.to_owned(),
                output: log.clone(),
            })
            .await?;
        let deadline = Instant::now() + START_DEADLINE;
        while !slirp::answers(&api).await {
            let ended = tokio::select! {
                exit = slirp.exited() => {
                    Some(exit.map_or_else(|| "the guardian is gone".to_owned(), |e| e.to_string()))
                }
                () = sleep(Duration::from_millis(10)) => None,
            };
            let why = match ended {
                Some(exit) => exit,
                None if Instant::now() > deadline => "no answer".to_owned(),
                None => continue,
            };
            let said = fs_err::read_to_string(&log).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Network,
                format!("slirp4netns did not start ({why}): {}", said.trim()),
            ));
        }
        in_namespace(
            &guardian,
            &shared,
            &format!("link set tap0 mtu {MTU} master br0 up\n"),
        )
        .await?;
        Ok(Self {
            guardian,
            namespaces,
            api,
            _slirp: slirp,
            leased: Mutex::default(),
        })
    }

    /// Gives a machine its namespace, address and forwarded SSH port.
    pub(crate) async fn join(
        &self,
        id: &str,
        address: Ipv4Addr,
        ssh: SocketAddr,
    ) -> Result<Lease, Error> {
        check_address(address)?;
        {
            let mut leased = self.leased.lock().await;
            if leased.contains(&address) {
                return Err(Error::new(
                    ErrorKind::Network,
                    format!("the private address {address} is in use"),
                ));
            }
            leased.push(address);
        }
        match self.wire(id, address, ssh).await {
            Ok(lease) => Ok(lease),
            Err(error) => {
                self.release_address(address).await;
                Err(error)
            }
        }
    }

    async fn wire(&self, id: &str, address: Ipv4Addr, ssh: SocketAddr) -> Result<Lease, Error> {
        let namespace = self.namespaces.join(id);
        let metadata = self.namespaces.join(format!("{id}.imds"));
        let shared = self.namespaces.join("vpc");
        let [_, _, c, d] = address.octets();
        let link = format!("m{c}-{d}");
        make_namespace(&self.guardian, &namespace).await?;
        in_namespace(
            &self.guardian,
            &shared,
            &format!(
                "link add {link} mtu {MTU} type veth peer name {INTERFACE} mtu {MTU} address {} netns {}\n\
                 link set {link} master br0 up\n",
                mac_address(address),
                text(&namespace)?,
            ),
        )
        .await?;
        in_namespace(
            &self.guardian,
            &namespace,
            &format!(
                "link set lo up\n\
                 addr add {address}/{PREFIX} dev {INTERFACE}\n\
                 link set {INTERFACE} up\n\
                 route add default via {GATEWAY}\n"
            ),
        )
        .await?;
        make_namespace(&self.guardian, &metadata).await?;
        in_namespace(
            &self.guardian,
            &namespace,
            &format!(
                "link add {METADATA_LINK} type veth peer name {METADATA_LINK} netns {}\n\
                 link set {METADATA_LINK} up\n\
                 route add {METADATA_ADDRESS}/32 dev {METADATA_LINK} src {address}\n",
                text(&metadata)?,
            ),
        )
        .await?;
        in_namespace(
            &self.guardian,
            &metadata,
            &format!(
                "link set lo up\n\
                 addr add {METADATA_ADDRESS}/32 dev {METADATA_LINK}\n\
                 link set {METADATA_LINK} up\n\
                 route add {address}/32 dev {METADATA_LINK}\n"
            ),
        )
        .await?;
        let forward = slirp::add_forward(&self.api, ssh, address, 22).await?;
        Ok(Lease {
            namespace,
            metadata,
            address,
            link,
            forward,
        })
    }

    async fn forget_namespace(&self, at: &Path) -> Result<(), Error> {
        let script = "umount \"$1\" && rm -f \"$1\"";
        self.guardian
            .run(&["sh", "-c", script, "sh", text(at)?], "")
            .await
            .map(drop)
    }

    /// Takes a machine's place back. Failures leave nothing that outlives the
    /// guardian, so they are only logged.
    pub(crate) async fn leave(&self, lease: Lease) {
        let results = [
            slirp::remove_forward(&self.api, lease.forward).await,
            in_namespace(
                &self.guardian,
                &self.namespaces.join("vpc"),
                &format!("link del {}\n", lease.link),
            )
            .await,
            self.forget_namespace(&lease.metadata).await,
            self.forget_namespace(&lease.namespace).await,
        ];
        for error in results.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, address = %lease.address, "a machine's network lingers");
        }
        self.release_address(lease.address).await;
    }

    async fn release_address(&self, address: Ipv4Addr) {
        self.leased.lock().await.retain(|&other| other != address);
    }
}

/// The container's interface. cloud-init leaves interfaces of this name alone,
/// and this one is configured before the container starts.
const INTERFACE: &str = "veth0";

fn check_address(address: Ipv4Addr) -> Result<(), Error> {
    let [a, b, c, d] = address.octets();
    let inside = [a, b] == [172, 31] && (c, d) != (255, 255);
    let reserved = c == 0 && matches!(d, 0..=3 | 100);
    if inside && !reserved {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Invalid,
            format!("{address} cannot be a machine's private address in {NETWORK}/{PREFIX}"),
        ))
    }
}

async fn make_namespace(guardian: &Guardian, at: &Path) -> Result<(), Error> {
    let at = text(at)?;
    guardian.run(&["touch", at], "").await?;
    guardian
        .run(&["unshare", &format!("--net={at}"), "true"], "")
        .await
        .map(drop)
}

async fn in_namespace(guardian: &Guardian, namespace: &Path, batch: &str) -> Result<(), Error> {
    let enter = format!("--net={}", text(namespace)?);
    guardian
        .run(&["nsenter", &enter, "ip", "-batch", "-"], batch)
        .await
        .map(drop)
}

/// A path as a program's argument.
pub(crate) fn text(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{} is not valid UTF-8", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_network_itself_are_refused() {
        for bad in [
            "172.31.0.2",
            "172.31.0.3",
            "172.31.0.100",
            "10.0.0.5",
            "172.31.255.255",
        ] {
            assert!(check_address(bad.parse().unwrap()).is_err(), "{bad}");
        }
        for good in ["172.31.0.4", "172.31.16.100", "172.31.80.9"] {
            assert!(check_address(good.parse().unwrap()).is_ok(), "{good}");
        }
    }
}
