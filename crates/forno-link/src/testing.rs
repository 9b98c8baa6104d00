//! A real OpenSSH server on loopback, for the tests of this workspace.

pub mod run_command;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    AgentSocket, Auth, HostKey, HostKeyPair, Identity, SshAccess, SshLink, SshTarget, Watch,
    connect,
};

const SSHD: &str = "/usr/sbin/sshd";

/// Keeps bash from reading the start-up files of whoever runs the tests: they
/// may take their time, or print. The first `SetEnv` of a configuration counts.
pub const NO_FILES: &str = "SetEnv SHLVL=1";

/// A running sshd that lets one key in, as the user of this process.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    dir: TempDir,
    pub address: SocketAddr,
    pub user: String,
    pub host_key: HostKey,
    pub identity: Arc<Identity>,
}

/// The server, or why there is none.
///
/// # Errors
/// Says what is missing on this machine.
pub async fn sshd() -> Result<Sshd, String> {
    sshd_with("").await
}

/// The same with more lines of configuration.
///
/// # Errors
/// Says what is missing on this machine.
pub async fn sshd_with(extra: &str) -> Result<Sshd, String> {
    if !Path::new(SSHD).exists() {
        return Err(format!("{SSHD} is missing (Debian package openssh-server)"));
    }
    if rustix::process::geteuid().is_root() {
        // Where sshd locks its unprivileged half in; the service makes it otherwise.
        fs_err::create_dir_all("/run/sshd").map_err(|e| e.to_string())?;
    }
    let mut dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let identity = Arc::new(Identity::generate("forno tests"));
    let pair = HostKeyPair::generate();
    let root = dir.path().to_owned();
    let path = |name: &str| root.join(name);
    let write = |name: &str, text: &str| {
        fs_err::write(path(name), text)
            .and_then(|()| {
                fs_err::set_permissions(path(name), std::fs::Permissions::from_mode(0o600))
            })
            .map_err(|e| e.to_string())
    };
    write("host_key", pair.private_openssh().expose_secret())?;
    write("authorized_keys", &format!("{}\n", identity.public_line()))?;
    for _ in 0..20 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             PidFile none\nMaxStartups 100\nSubsystem sftp internal-sftp\n{extra}\n{NO_FILES}\n",
            path("host_key").display(),
            path("authorized_keys").display(),
        );
        write("config", &config)?;
        let log = fs_err::File::create(path("log")).map_err(|e| e.to_string())?;
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_file())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut server = Sshd {
            child,
            dir,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            user: user()?,
            host_key: pair.public(),
            identity: Arc::clone(&identity),
        };
        if server.listens().await? {
            return Ok(server);
        }
        // Somebody else took the port meanwhile.
        dir = server.give_back_folder()?;
    }
    Err("no free port was found".into())
}

fn user() -> Result<String, String> {
    let output = Command::new("id").arg("-un").output();
    let output = output.map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Of those that are sshd themselves, or of all.
fn children(parent: u32, all: bool) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let stat = fs_err::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((name, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let theirs = rest.split_whitespace().nth(1).and_then(|n| n.parse().ok());
        if theirs == Some(parent) && (all || name.contains("(sshd")) {
            found.push(pid);
        }
    }
    found
}

impl Sshd {
    async fn listens(&mut self) -> Result<bool, String> {
        for _ in 0..1200 {
            let log = fs_err::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if log.contains("Server listening") {
                return Ok(true);
            }
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return if log.contains("Address already in use") {
                    Ok(false)
                } else {
                    Err(format!("sshd ended ({status}): {log}"))
                };
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err("sshd does not begin to listen".into())
    }

    /// The server and its connections; with `all`, also what runs on them.
    fn processes(&self, all: bool) -> Vec<Pid> {
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            family.extend(children(parent, all));
            next += 1;
        }
        let pid = |n: u32| i32::try_from(n).ok().and_then(Pid::from_raw);
        family.into_iter().filter_map(pid).collect()
    }

    /// To the server and all its connections.
    pub fn signal(&self, signal: Signal) {
        for pid in self.processes(false) {
            let _ = kill_process(pid, signal);
        }
    }

    /// To its connections, and not to the server.
    pub fn end_connections(&self, signal: Signal) {
        for pid in self.processes(false).into_iter().skip(1) {
            let _ = kill_process(pid, signal);
        }
    }

    /// A folder that lives as long as the server.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn target(&self) -> SshTarget {
        SshTarget::new(
            self.address,
            self.user.clone(),
            self.host_key.clone(),
            Auth::Identity(Arc::clone(&self.identity)),
        )
    }

    /// A link to it.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn link(&self) -> Arc<SshLink> {
        self.link_to(self.target()).await
    }

    /// A link with another target's settings.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn link_to(&self, target: SshTarget) -> Arc<SshLink> {
        let cancel = CancellationToken::new();
        let link = connect(target, Duration::from_mins(1), &Watch::none(), &cancel).await;
        Arc::new(link.expect("connect to the test's own sshd"))
    }

    /// A command by the real ssh with what a link tells foreign clients, as Ansible uses
    /// it: an address, a key from an agent, a pinned host key.
    ///
    /// # Panics
    /// When there is no ssh, or it is not let in.
    pub async fn foreign(&self, access: &SshAccess, command: &str) -> String {
        let agent = AgentSocket::new(Arc::clone(&self.identity)).expect("an agent");
        let known = self.dir().join("known_hosts");
        let (ip, port) = (access.address.ip(), access.address.port());
        let host = format!("[{ip}]:{port} {}\n", access.host_key.line());
        fs_err::write(&known, host).expect("its own folder can be written to");
        let output = tokio::process::Command::new("ssh")
            .args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .args(access.options.iter().flat_map(|option| ["-o", option]))
            .args(["-p", &port.to_string()])
            .arg(format!("{}@{ip}", access.user))
            .arg(command)
            .env("SSH_AUTH_SOCK", agent.path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("ssh runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the server says about itself.
    pub fn log(&self) -> String {
        fs_err::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn give_back_folder(mut self) -> Result<TempDir, String> {
        let fresh = tempfile::tempdir().map_err(|e| e.to_string())?;
        let old = std::mem::replace(&mut self.dir, fresh);
        Ok(old)
    }

    /// Where its keys lie.
    pub fn authorized_keys(&self) -> PathBuf {
        self.dir.path().join("authorized_keys")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for pid in self.processes(true) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
