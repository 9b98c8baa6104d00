//! The private folder of one run: inventory, known hosts, variables, the plugin,
//! sockets. Nothing in it outlives the run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use forno_link::SshAccess;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::step::Ansible;

const PLUGIN: &str = include_str!("forno.py");
const CONNECTION: &str = include_str!("forno_link.py");

/// Where the connection plugin finds forno.
pub(super) const SOCKET: &str = "link";

/// How Ansible reaches the machine.
pub(super) enum Way<'a> {
    /// With the ssh of this computer.
    Ssh(&'a SshAccess),
    /// Through forno's own link, whose user is this.
    Forno(&'a str),
}

impl Way<'_> {
    fn host(&self) -> Value {
        match self {
            Self::Ssh(access) => json!({
                "ansible_host": access.address.ip().to_string(),
                "ansible_port": access.address.port(),
                "ansible_user": access.user,
            }),
            Self::Forno(user) => json!({
                "ansible_connection": "forno_link",
                "ansible_user": user,
            }),
        }
    }
}

/// A unix socket's path is at most 107 bytes long; ssh puts some 40 after ours.
const LONGEST: usize = 50;

/// Held in memory, where it is there: what was never on a disk stays on none.
const MEMORY: &str = "/dev/shm";

#[derive(Debug)]
pub(super) struct Workplace {
    dir: TempDir,
    /// Of the key, where ssh is the way.
    agent: Option<PathBuf>,
    /// What ssh is told besides.
    options: Vec<String>,
    vars: Option<NamedTempFile>,
}

impl Workplace {
    pub(super) fn new(ansible: &Ansible, way: &Way<'_>) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("forno-")
            .permissions(std::fs::Permissions::from_mode(0o700));
        let mut dir = builder.tempdir()?;
        if dir.path().as_os_str().len() > LONGEST {
            dir = builder.tempdir_in("/tmp")?;
        }
        let place = Self {
            vars: variables_file(ansible, dir.path())?,
            agent: match way {
                Way::Ssh(access) => access.agent_socket.clone(),
                Way::Forno(_) => None,
            },
            options: match way {
                Way::Ssh(access) => access.options.clone(),
                Way::Forno(_) => Vec::new(),
            },
            dir,
        };
        for folder in ["callback", "cp", "tmp"] {
            fs_err::create_dir(place.path(folder))?;
        }
        place.write("callback/forno.py", PLUGIN.as_bytes())?;
        place.write("ansible.cfg", b"")?;
        let hosts = inventory(ansible, &way.host()).to_string();
        place.write("hosts.json", hosts.as_bytes())?;
        match way {
            Way::Ssh(access) => {
                place.write("known_hosts", known_hosts(access).as_bytes())?;
                place.write("id.pub", format!("{}\n", access.public_key).as_bytes())?;
            }
            Way::Forno(_) => {
                fs_err::create_dir(place.path("connection"))?;
                place.write("connection/forno_link.py", CONNECTION.as_bytes())?;
            }
        }
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The file with the variables, when there are any.
    pub(super) fn vars(&self) -> Option<&Path> {
        self.vars.as_ref().map(NamedTempFile::path)
    }

    /// What must not outlive us.
    pub(super) fn leaves(&self) -> [Option<&Path>; 2] {
        [Some(self.dir.path()), self.vars()]
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(self.path(name))?;
        io::Write::write_all(&mut file, content)
    }

    /// What both programs get.
    pub(super) fn environment(&self, ansible: &Ansible) -> BTreeMap<String, OsString> {
        let beside = ansible.playbook.with_file_name("ansible.cfg");
        let config = if beside.is_file() {
            beside
        } else {
            self.path("ansible.cfg")
        };
        let mut env: BTreeMap<String, OsString> = [
            ("ANSIBLE_STDOUT_CALLBACK", "forno"),
            ("ANSIBLE_NOCOLOR", "1"),
            ("ANSIBLE_FORCE_COLOR", "0"),
            ("ANSIBLE_NOCOWS", "1"),
            ("ANSIBLE_HOST_KEY_CHECKING", "1"),
            ("ANSIBLE_PIPELINING", "1"),
            ("ANSIBLE_RETRY_FILES_ENABLED", "0"),
            ("ANSIBLE_SSH_RETRIES", "3"),
            ("ANSIBLE_TIMEOUT", "30"),
            ("ANSIBLE_PYTHON_INTERPRETER", "auto_silent"),
            // Ansible refuses to start in any other.
            ("LC_ALL", "C.UTF-8"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
        env.insert("ANSIBLE_CONFIG".into(), config.into());
        env.insert(
            "ANSIBLE_CALLBACK_PLUGINS".into(),
            self.path("callback").into(),
        );
        env.insert("ANSIBLE_LOCAL_TEMP".into(), self.path("tmp").into());
        env.insert(
            "ANSIBLE_SSH_CONTROL_PATH_DIR".into(),
            self.path("cp").into(),
        );
        env.insert("ANSIBLE_SSH_ARGS".into(), self.ssh_args().into());
        if let Some(agent) = &self.agent {
            env.insert("SSH_AUTH_SOCK".into(), agent.into());
        } else {
            let folder = self.path("connection");
            env.insert("ANSIBLE_CONNECTION_PLUGINS".into(), folder.into());
            env.insert("FORNO_LINK".into(), self.path(SOCKET).into());
        }
        env
    }

    /// No configuration of the person or the system; only our key, only our host.
    fn ssh_args(&self) -> String {
        let options = [
            "ControlMaster=auto".to_owned(),
            "ControlPersist=30s".to_owned(),
            format!("UserKnownHostsFile={}", self.path("known_hosts").display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "PreferredAuthentications=publickey".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            format!("IdentityFile={}", self.path("id.pub").display()),
            "ServerAliveInterval=15".to_owned(),
            "ServerAliveCountMax=4".to_owned(),
        ];
        let options = options.iter().chain(&self.options);
        let options: Vec<String> = options.map(|o| format!("-o {o}")).collect();
        format!("-F none {}", options.join(" "))
    }

    /// The shared connections live on in the background; they end now.
    pub(super) async fn hang_up(&self) {
        for socket in fs_err::read_dir(self.path("cp"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let mut path = OsString::from("ControlPath=");
            path.push(socket.path());
            let ended = tokio::process::Command::new("ssh")
                .args(["-F", "none", "-o"])
                .arg(path)
                // Which host does not matter, but there must be one.
                .args(["-O", "exit", "machine"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .await;
            tracing::debug!(?ended, "ended a shared connection");
        }
    }
}

/// Extra variables may hold secrets: a file that only this user can read.
fn variables_file(ansible: &Ansible, dir: &Path) -> io::Result<Option<NamedTempFile>> {
    let Some(vars) = variables(ansible)? else {
        return Ok(None);
    };
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("forno-")
        .suffix(".json")
        .permissions(std::fs::Permissions::from_mode(0o600));
    let mut file = builder
        .tempfile_in(MEMORY)
        .or_else(|_| builder.tempfile_in(dir))?;
    io::Write::write_all(&mut file, &vars)?;
    Ok(Some(file))
}

/// The content of such a file, where there are variables.
pub(super) fn variables(ansible: &Ansible) -> io::Result<Option<Vec<u8>>> {
    if ansible.extra_vars.is_empty() {
        return Ok(None);
    }
    let vars: serde_json::Map<String, Value> = ansible
        .extra_vars
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    Ok(Some(serde_json::to_vec(&vars)?))
}

fn known_hosts(access: &SshAccess) -> String {
    let (ip, port) = (access.address.ip(), access.address.port());
    let key = access.host_key.line();
    if port == 22 {
        format!("{ip} {key}\n")
    } else {
        format!("[{ip}]:{port} {key}\n")
    }
}

/// The machine alone, with these variables of its own, in the groups that are asked for.
pub(super) fn inventory(ansible: &Ansible, variables: &Value) -> Value {
    let host = ansible.host.as_str();
    let mut all = json!({ "hosts": { host: variables } });
    let members = ansible.groups.iter();
    let members = members.map(|group| (group.clone(), json!({ "hosts": { host: null } })));
    let empty = ansible.empty_groups.iter();
    let empty = empty.map(|group| (group.clone(), json!({})));
    let groups: serde_json::Map<String, Value> = members.chain(empty).collect();
    if !groups.is_empty() {
        all["children"] = groups.into();
    }
    json!({ "all": all })
}
