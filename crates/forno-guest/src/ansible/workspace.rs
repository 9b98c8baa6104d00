//! The private folder of one run: inventory, known hosts, variables, plugin.
//! It is gone afterwards, and so are the connections that ssh kept open in it.

use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use forno_link::SshAccess;
use fs_err as fs;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::Ansible;

const CALLBACK: &str = include_str!("callback.py");

/// The builder's name in the inventory.
pub(super) const HOST: &str = "builder";

#[derive(Debug)]
pub(super) struct Workspace {
    folder: TempDir,
    access: SshAccess,
}

impl Workspace {
    pub(super) fn make(ansible: &Ansible, access: SshAccess) -> io::Result<Self> {
        // Short: a control socket's path may have 108 bytes at most.
        let folder = tempfile::Builder::new()
            .prefix("forno-")
            .rand_bytes(6)
            .tempdir()?;
        fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
        let workspace = Self { folder, access };
        for folder in [
            workspace.plugins(),
            workspace.sockets(),
            workspace.scratch(),
        ] {
            fs::create_dir(folder)?;
        }
        private(&workspace.plugins().join("forno.py"), CALLBACK.as_bytes())?;
        private(
            &workspace.known_hosts(),
            workspace.known_hosts_line().as_bytes(),
        )?;
        private(
            &workspace.key(),
            format!("{}\n", workspace.access.public_key).as_bytes(),
        )?;
        private(
            &workspace.inventory(),
            workspace.inventory_of(ansible).to_string().as_bytes(),
        )?;
        let vars: Map<String, Value> = ansible
            .extra_vars
            .iter()
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect();
        private(
            &workspace.extra_vars(),
            Value::Object(vars).to_string().as_bytes(),
        )?;
        Ok(workspace)
    }

    pub(super) fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    pub(super) fn sockets(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    pub(super) fn inventory(&self) -> PathBuf {
        self.folder.path().join("inventory.yml")
    }

    pub(super) fn extra_vars(&self) -> PathBuf {
        self.folder.path().join("vars.json")
    }

    fn known_hosts(&self) -> PathBuf {
        self.folder.path().join("known_hosts")
    }

    /// The public half only: it tells ssh which of the agent's keys to offer.
    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pub")
    }

    /// Options of every ssh that Ansible starts; nothing of the user's own
    /// configuration plays a part.
    pub(super) fn ssh_args(&self) -> String {
        let options = [
            "-F none".to_owned(),
            "-o ControlMaster=auto".into(),
            "-o ControlPersist=60s".into(),
            format!("-o UserKnownHostsFile={}", self.known_hosts().display()),
            "-o GlobalKnownHostsFile=/dev/null".into(),
            "-o StrictHostKeyChecking=yes".into(),
            "-o PasswordAuthentication=no".into(),
            "-o IdentitiesOnly=yes".into(),
            format!("-o IdentityFile={}", self.key().display()),
            "-o ServerAliveInterval=15".into(),
        ];
        options.join(" ")
    }

    fn known_hosts_line(&self) -> String {
        let address = self.access.address;
        let name = if address.port() == 22 {
            address.ip().to_string()
        } else {
            format!("[{}]:{}", address.ip(), address.port())
        };
        format!("{name} {}\n", self.access.host_key)
    }

    /// JSON, which is YAML as well.
    fn inventory_of(&self, ansible: &Ansible) -> Value {
        let host = json!({
            "ansible_host": self.access.address.ip().to_string(),
            "ansible_port": self.access.address.port(),
            "ansible_user": self.access.user,
            "ansible_connection": "ssh",
            "ansible_python_interpreter": "auto_silent",
        });
        let groups: Map<String, Value> = ansible
            .groups
            .iter()
            .map(|group| (group.clone(), json!({ "hosts": { HOST: null } })))
            .collect();
        json!({ "all": { "hosts": { HOST: host }, "children": groups } })
    }

    /// Ends the connections that ssh keeps open for its next use.
    pub(super) async fn hang_up(&self) {
        let Ok(sockets) = fs::read_dir(self.sockets()) else {
            return;
        };
        for socket in sockets.flatten() {
            let mut exit = tokio::process::Command::new("ssh");
            exit.args(["-F", "none", "-O", "exit", "-S"])
                .arg(socket.path())
                .arg(HOST)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if let Ok(mut child) = exit.spawn() {
                let _ = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
            }
        }
    }
}

/// A file that only this user can read.
fn private(path: &Path, contents: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .options_mut()
        .mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(contents)
}
