//! What the tests of real machines share: a small metadata service, keys, an
//! SSH client (OpenSSH's own, so that nothing of ours judges itself), disks.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each test uses a part of this and may speak"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_machine::source::{self, SourceConfig, SourceDisk};
use forno_machine::{
    DataDisk, Ended, Host, HostConfig, Kind, Machine, MachineSpec, Script, copy_disk,
};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The embedding binary.
pub fn probe() -> PathBuf {
    env!("CARGO_BIN_EXE_machine-probe").into()
}

/// Whether this computer can run the test; says why not.
pub fn can_run(kind: Kind) -> bool {
    let report = forno_machine::doctor::examine(Path::new("/nonexistent"));
    let finding = report.finding(kind);
    let root = rustix::process::geteuid().is_root();
    if finding.usable && report.source_packages.is_empty() && root {
        return true;
    }
    forno_testing::skip(format_args!(
        "machines of kind {kind} need root and their tools: {}; missing for disks: {:?}",
        finding.notes.join("; "),
        report.source_packages
    ));
    false
}

/// Debian's disk from the shared cache; made on first use.
pub async fn source_disk() -> SourceDisk {
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    let config = SourceConfig {
        cache_dir: cache_dir(),
        mirror: None,
        ca_bundle: bundle.exists().then(|| bundle.to_owned()),
    };
    source::make_debian_disk(
        &config,
        &|progress| println!("source: {progress:?}"),
        &CancellationToken::new(),
    )
    .await
    .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
pub fn cache_dir() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    var("FORNO_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("forno")))
        .or_else(|| Some(var("HOME")?.join(".cache/forno")))
        .expect("a home folder")
}

/// A host with machines, a key to them, and a folder that goes with it.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub host: Host,
    pub key: PathBuf,
    pub host_key_line: String,
    pub asked: Arc<Mutex<Vec<String>>>,
    user_data: String,
    public_key: String,
}

impl Site {
    pub async fn start(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (key, public_key) = make_key(dir.path(), "user").await;
        let (host_key, host_key_line) = make_key(dir.path(), "host").await;
        let host_key = fs_err::read_to_string(host_key).unwrap();
        let indented = host_key.replace('\n', "\n    ");
        let user_data = format!(
            "#cloud-config\nssh_keys:\n  ed25519_private: |\n    {}\n  ed25519_public: {host_key_line}\n\
             runcmd:\n  - touch /var/lib/user-data-ran\n",
            indented.trim_end()
        );
        let host = Host::start(HostConfig {
            run_dir: dir.path().join("run"),
            cache_dir: dir.path().join("cache"),
            kind: Some(kind),
            helper_exe: Some(probe()),
        })
        .await
        .unwrap();
        Self {
            dir,
            host,
            key,
            host_key_line,
            asked: Arc::default(),
            user_data,
            public_key,
        }
    }

    /// A machine's specification, with its metadata already answered.
    pub fn spec(&self, number: u8, disk: PathBuf) -> MachineSpec {
        let id = format!("i-{number:017x}");
        let dir = self.dir.path().join(&id);
        fs_err::create_dir_all(&dir).unwrap();
        let imds_socket = dir.join("imds.sock");
        let private_address = Ipv4Addr::new(172, 31, 5, number);
        serve_metadata(
            &imds_socket,
            &Metadata {
                id: id.clone(),
                private_address,
                user_data: self.user_data.clone(),
                public_key: self.public_key.clone(),
            },
            Arc::clone(&self.asked),
        );
        let [_, _, low, high] = std::process::id().to_be_bytes();
        MachineSpec {
            id,
            dir,
            disk,
            data_disks: Vec::new(),
            vcpus: 2,
            memory_mib: 1024,
            public_address: Ipv4Addr::new(127, low.max(2), high, number),
            private_address,
            imds_socket,
            services: Vec::new(),
        }
    }

    /// A disk of 1 GiB with nothing on it.
    pub fn empty_disk(&self, name: &str) -> DataDisk {
        let disk = self.dir.path().join(name);
        fs_err::File::create(&disk).unwrap();
        forno_machine::grow_disk(&disk, 1 << 30).unwrap();
        DataDisk {
            device: "/dev/sdf".to_owned(),
            serial: "vol0123456789abcdef0".to_owned(),
            disk,
        }
    }

    pub async fn copy_of(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.dir.path().join(name);
        copy_disk(from, &to, |_| {}, &CancellationToken::new())
            .await
            .unwrap();
        to
    }

    /// Runs a command over SSH, with the host key pinned.
    pub async fn ssh(&self, address: SocketAddr, command: &str) -> Result<String, String> {
        let known_hosts = self.dir.path().join(format!("known-{address}"));
        let entry = format!(
            "[{}]:{} {}\n",
            address.ip(),
            address.port(),
            self.host_key_line
        );
        let plain = format!("{} {}\n", address.ip(), self.host_key_line);
        fs_err::write(&known_hosts, entry + &plain).unwrap();
        let mut child = Command::new("ssh");
        child
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=yes",
            ])
            .args(["-o", "ConnectTimeout=30", "-o", "IdentitiesOnly=yes"])
            .args([
                "-o",
                "HostKeyAlgorithms=ssh-ed25519",
                "-o",
                "LogLevel=ERROR",
            ])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(&self.key)
            .args(["-p", &address.port().to_string()])
            .arg(format!("admin@{}", address.ip()))
            .arg(command)
            .stdin(std::process::Stdio::null());
        let output = child.output().await.unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!(
                "{}: {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }

    /// Runs a command as soon as the machine lets one in.
    pub async fn first_ssh(&self, machine: &Machine, command: &str, within: Duration) -> String {
        let deadline = Instant::now() + within;
        loop {
            match self.ssh(machine.ssh_address(), command).await {
                Ok(said) => return said,
                Err(error) if Instant::now() > deadline => {
                    let console = String::from_utf8_lossy(&machine.console()).into_owned();
                    panic!("no ssh: {error}; console:\n{console}");
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// The command's output once it is what it should be.
    pub async fn ssh_until(
        &self,
        address: SocketAddr,
        command: &str,
        good: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let result = self.ssh(address, command).await;
            match result {
                Ok(said) if good(&said) => return said,
                other if Instant::now() > deadline => panic!("{command}: {other:?}"),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

pub async fn make_key(dir: &Path, name: &str) -> (PathBuf, String) {
    let path = dir.join(name);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let public = fs_err::read_to_string(path.with_extension("pub")).unwrap();
    (path, public.trim().to_owned())
}

pub struct Metadata {
    pub id: String,
    pub private_address: Ipv4Addr,
    pub user_data: String,
    pub public_key: String,
}

/// As much of EC2's metadata service as a first boot asks for, version 2 only.
pub fn serve_metadata(socket: &Path, about: &Metadata, asked: Arc<Mutex<Vec<String>>>) {
    let listener = UnixListener::bind(socket).unwrap();
    let pages = Arc::new(pages(about));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (pages, asked) = (Arc::clone(&pages), Arc::clone(&asked));
            let answer = service_fn(move |request: Request<Incoming>| {
                asked.lock().unwrap().push(format!(
                    "{} {}",
                    request.method(),
                    request.uri().path()
                ));
                let (status, body) = answer(&pages, &request);
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                std::future::ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer),
            );
        }
    });
}

fn pages(about: &Metadata) -> Vec<(String, String)> {
    let address = about.private_address.to_string();
    let name = format!("ip-{}", address.replace('.', "-"));
    let document = serde_json::json!({
        "instanceId": about.id,
        "region": "us-east-1",
        "availabilityZone": "us-east-1a",
        "privateIp": address,
    });
    [
        ("user-data", about.user_data.clone()),
        ("meta-data/instance-id", about.id.clone()),
        ("meta-data/hostname", name.clone()),
        ("meta-data/local-hostname", name),
        ("meta-data/local-ipv4", address),
        (
            "meta-data/placement/availability-zone",
            "us-east-1a".to_owned(),
        ),
        (
            "meta-data/public-keys/0/openssh-key",
            about.public_key.clone(),
        ),
        ("dynamic/instance-identity/document", document.to_string()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .to_vec()
}

fn answer(pages: &[(String, String)], request: &Request<Incoming>) -> (StatusCode, String) {
    let path = request.uri().path();
    if request.method() == Method::PUT && path == "/latest/api/token" {
        return (StatusCode::OK, "token".to_owned());
    }
    if request
        .headers()
        .get("x-aws-ec2-metadata-token")
        .is_none_or(|token| token != "token")
    {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    // Below any version the same.
    let Some((_, page)) = path.trim_start_matches('/').split_once('/') else {
        return (StatusCode::NOT_FOUND, String::new());
    };
    if let Some((_, text)) = pages.iter().find(|(known, _)| known == page) {
        return (StatusCode::OK, text.clone());
    }
    let folder = format!("{}/", page.trim_end_matches('/'));
    if folder == "meta-data/public-keys/" {
        return (StatusCode::OK, "0=key".to_owned());
    }
    let mut names = Vec::<String>::new();
    for (known, _) in pages {
        if let Some(rest) = known.strip_prefix(&folder) {
            let name = match rest.split_once('/') {
                Some((below, _)) => format!("{below}/"),
                None => rest.to_owned(),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.is_empty() {
        (StatusCode::NOT_FOUND, String::new())
    } else {
        (StatusCode::OK, names.join("\n"))
    }
}

/// What of a folder is still in use anywhere: mounts, loop devices, processes.
pub fn traces_of(dir: &Path) -> Vec<String> {
    let needle = dir.to_str().unwrap();
    let mut found = Vec::new();
    let mounts = fs_err::read_to_string("/proc/mounts").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(needle))
            .map(|line| format!("mount {line}")),
    );
    for entry in fs_err::read_dir("/sys/block").unwrap().flatten() {
        let backing = entry.path().join("loop/backing_file");
        if let Ok(file) = std::fs::read_to_string(backing)
            && file.contains(needle)
        {
            found.push(format!("loop {} {file}", entry.path().display()));
        }
    }
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(needle) {
                found.push(format!("process {} {line}", entry.path().display()));
            }
        }
    }
    found
}

/// Waits until nothing of a folder is in use.
pub async fn gone(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = traces_of(dir);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Starts something in a session of its own that sleeps for so long; says where
/// the stub's memory is.
pub const DETACH: &str = "setsid sh -c 'echo x >\"$FORNO_STUB_MEMORY/left\"; exec sleep 4741' >/dev/null 2>&1 </dev/null &
    while [ ! -e \"$FORNO_STUB_MEMORY/left\" ]; do sleep 0.02; done; printf %s \"$FORNO_STUB_MEMORY\"";

/// Processes that have such a value in their environment.
pub fn with_environment(value: &[u8]) -> usize {
    let all = fs_err::read_dir("/proc").unwrap().flatten();
    let with = all.filter(|entry| {
        std::fs::read(entry.path().join("environ"))
            .is_ok_and(|all| all.split(|&b| b == 0).any(|one| one.ends_with(value)))
    });
    with.count()
}

/// Runs a script as the machine's agent would; what it wrote, and how it ended.
pub async fn agent(machine: &Machine, name: &str, text: &str) -> (String, String, Ended) {
    let mut running = machine.run(script(name, text)).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (
        running.stdout.take().unwrap(),
        running.stderr.take().unwrap(),
    );
    let (o, e) = tokio::join!(
        stdout.read_to_string(&mut out),
        stderr.read_to_string(&mut err)
    );
    o.unwrap();
    e.unwrap();
    (out, err, running.ended().await)
}

pub fn script(name: &str, text: &str) -> Script {
    Script {
        name: name.to_owned(),
        text: text.to_owned(),
        folder: None,
        env: vec![("AWS_SSM_INSTANCE_ID".to_owned(), "i-1".to_owned())],
    }
}
