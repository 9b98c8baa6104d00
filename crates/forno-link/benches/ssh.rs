//! The SSH link beside OpenSSH, with one sshd on loopback for both.
//!
//!     cargo bench --locked --workspace --bench ssh -- [ROUNDS [MEGABYTES [FILES [COMMANDS]]]]
//!
//! In each round forno and every OpenSSH way do the same work, one after the
//! other; medians are told, and the ratio of the fastest OpenSSH way to forno.
//! Above 1 means that forno is faster. Everything lies below TMPDIR.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use forno_link::testing::{Sshd, sshd};
use forno_link::{Command, FileTarget, Link, Progress, SshLink, TreeTarget, capture};
use tokio_util::sync::CancellationToken;

const FORNO: &str = "forno";

struct Sizes {
    rounds: usize,
    megabytes: usize,
    files: usize,
    commands: u32,
}

/// OpenSSH's clients, told where the server is.
struct OpenSsh {
    host: String,
    config: PathBuf,
    master: bool,
}

impl OpenSsh {
    fn new(server: &Sshd) -> Self {
        let key = server.dir().join("bench-key");
        Self::run(&format!(
            "ssh-keygen -q -t ed25519 -N '' -f {key} && cat {key}.pub >>{keys}",
            key = key.display(),
            keys = server.authorized_keys().display()
        ));
        let config = server.dir().join("bench-config");
        let text = format!(
            "Host bench\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n \
             StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n \
             ControlPath {}/bench-%C\n",
            server.address.ip(),
            server.address.port(),
            server.user,
            key.display(),
            server.dir().display(),
        );
        fs_err::write(&config, text).expect("the configuration");
        Self {
            host: "bench".into(),
            config,
            master: false,
        }
    }

    fn run(script: &str) {
        let status = Process::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .stdin(Stdio::null())
            .status()
            .expect("bash");
        assert!(status.success(), "{script}: {status}");
    }

    fn ssh(&self) -> String {
        let master = if self.master { "" } else { "-S none" };
        format!("ssh -F {} {master}", self.config.display())
    }

    fn with_master(&mut self, work: impl FnOnce(&Self)) {
        Self::run(&format!(
            "ssh -F {} -M -N -f -o ControlPersist=no {} >/dev/null 2>&1",
            self.config.display(),
            self.host
        ));
        self.master = true;
        work(self);
        self.master = false;
        Self::run(&format!(
            "ssh -F {} -O exit {} 2>/dev/null",
            self.config.display(),
            self.host
        ));
    }
}

#[derive(Default)]
struct Times(BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>);

impl Times {
    fn add(&mut self, work: &'static str, way: &'static str, took: Duration) {
        let ways = self.0.entry(work).or_default();
        ways.entry(way).or_default().push(took.as_secs_f64());
    }

    fn print(&self) {
        for (work, ways) in &self.0 {
            let mut medians: Vec<(&str, f64)> = ways
                .iter()
                .map(|(way, times)| (*way, median(times)))
                .collect();
            medians.sort_by(|a, b| a.1.total_cmp(&b.1));
            let of = |name| medians.iter().find(|m| m.0 == name).map(|m| m.1);
            let fastest = medians.iter().find(|m| m.0 != FORNO).expect("a peer");
            let ratio = fastest.1 / of(FORNO).expect("forno's own");
            println!("{work}: {ratio:.2} of {}", fastest.0);
            for (way, seconds) in &medians {
                println!("    {seconds:8.3} s  {way}");
            }
        }
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn make_content(at: &Path, sizes: &Sizes) {
    let block: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
    let mut file = Vec::with_capacity(sizes.megabytes << 20);
    for number in 0..sizes.megabytes {
        file.extend_from_slice(&number.to_be_bytes());
        file.extend_from_slice(&block[size_of::<usize>()..]);
    }
    fs_err::write(at.join("file"), file).expect("the file");
    for number in 0..sizes.files {
        let folder = at.join(format!("folder/d{:02}", number % 50));
        fs_err::create_dir_all(&folder).expect("a folder");
        let from = number % (block.len() - 8192);
        fs_err::write(folder.join(format!("f{number}")), &block[from..from + 8192]).expect("file");
    }
}

struct Bench<'a> {
    link: &'a SshLink,
    peer: OpenSsh,
    content: &'a Path,
    ground: PathBuf,
    times: Times,
    round: usize,
}

impl Bench<'_> {
    /// A fresh place for each run, so that nobody overwrites.
    fn place(&self, name: &str) -> PathBuf {
        let place = self.ground.join(format!("{}-{name}", self.round));
        let _ = fs_err::remove_dir_all(&place);
        fs_err::create_dir_all(&place).expect("a place");
        place
    }

    fn peer(
        &mut self,
        work: &'static str,
        way: &'static str,
        script: impl Fn(&str, &str) -> String,
    ) {
        let program = way.split_whitespace().next().unwrap_or(way);
        if Process::new("which")
            .arg(program)
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| !s.success())
        {
            println!("{program} is not installed");
            return;
        }
        let place = self.place("peer");
        let text = script(&self.peer.ssh(), &place.display().to_string());
        let start = Instant::now();
        OpenSsh::run(&text);
        self.times.add(work, way, start.elapsed());
        fs_err::remove_dir_all(&place).expect("the place");
    }

    async fn file_up(&mut self) {
        let never = CancellationToken::new();
        let place = self.place("forno");
        let to = FileTarget::new(place.join("file").display().to_string());
        let from = self.content.join("file");
        let start = Instant::now();
        self.link
            .upload_file(&from, &to, Progress::none(), &never)
            .await
            .expect("upload");
        self.times.add("file up", FORNO, start.elapsed());
        fs_err::remove_dir_all(&place).expect("the place");
        let (config, from) = (
            self.peer.config.display().to_string(),
            from.display().to_string(),
        );
        self.peer("file up", "scp", |_, to| {
            format!("scp -q -F {config} {from} bench:{to}/file")
        });
        self.peer("file up", "sftp", |_, to| {
            format!("echo 'put {from} {to}/file' | sftp -q -b - -F {config} bench >/dev/null")
        });
        self.peer("file up", "ssh cat", |ssh, to| {
            format!("{ssh} bench 'cat >{to}/file' <{from}")
        });
        self.peer("file up", "rsync", |ssh, to| {
            format!("rsync -W -e '{ssh}' {from} bench:{to}/file")
        });
    }

    async fn file_down(&mut self) {
        let never = CancellationToken::new();
        let place = self.place("forno");
        let from = self.content.join("file").display().to_string();
        let start = Instant::now();
        let to = place.join("file");
        self.link
            .download_file(&from, &to, false, Progress::none(), &never)
            .await
            .expect("download");
        self.times.add("file down", FORNO, start.elapsed());
        fs_err::remove_dir_all(&place).expect("the place");
        let config = self.peer.config.display().to_string();
        self.peer("file down", "scp", |_, to| {
            format!("scp -q -F {config} bench:{from} {to}/file")
        });
        self.peer("file down", "sftp", |_, to| {
            format!("echo 'get {from} {to}/file' | sftp -q -b - -F {config} bench >/dev/null")
        });
        self.peer("file down", "ssh cat", |ssh, to| {
            format!("{ssh} bench 'cat {from}' >{to}/file")
        });
        self.peer("file down", "rsync", |ssh, to| {
            format!("rsync -W -e '{ssh}' bench:{from} {to}/file")
        });
    }

    async fn folder(&mut self) {
        let never = CancellationToken::new();
        let place = self.place("forno");
        let from = self.content.join("folder");
        let to = TreeTarget::new(place.display().to_string());
        let start = Instant::now();
        self.link
            .upload_tree(&from, &to, Progress::none(), &never)
            .await
            .expect("upload");
        self.times.add("folder up", FORNO, start.elapsed());
        fs_err::remove_dir_all(&place).expect("the place");
        let from = from.display().to_string();
        self.peer("folder up", "tar | ssh", |ssh, to| {
            format!("tar -c -C {from} . | {ssh} bench 'tar -x -C {to}'")
        });
        self.peer("folder up", "rsync", |ssh, to| {
            format!("rsync -a -e '{ssh}' {from}/ bench:{to}")
        });

        let place = self.place("forno");
        let start = Instant::now();
        self.link
            .download_tree(&from, &place, false, Progress::none(), &never)
            .await
            .expect("download");
        self.times.add("folder down", FORNO, start.elapsed());
        fs_err::remove_dir_all(&place).expect("the place");
        self.peer("folder down", "tar | ssh", |ssh, to| {
            format!("{ssh} bench 'tar -c -C {from} .' | tar -x -C {to}")
        });
        self.peer("folder down", "rsync", |ssh, to| {
            format!("rsync -a -e '{ssh}' bench:{from}/ {to}")
        });
    }

    async fn commands(&mut self, count: u32) {
        let never = CancellationToken::new();
        let start = Instant::now();
        for _ in 0..count {
            let output = capture(self.link, Command::shell("true"), &never).await;
            assert!(output.expect("a command").exit.success());
        }
        self.times.add("a command", FORNO, start.elapsed() / count);
        let mut times = Vec::new();
        self.peer.with_master(|peer| {
            let start = Instant::now();
            OpenSsh::run(&format!(
                "for i in $(seq {count}); do {} bench true </dev/null; done",
                peer.ssh()
            ));
            times.push(start.elapsed() / count);
        });
        self.times.add("a command", "ssh, one connection", times[0]);
        let few = count.min(20);
        let start = Instant::now();
        OpenSsh::run(&format!(
            "for i in $(seq {few}); do {} bench true </dev/null; done",
            self.peer.ssh()
        ));
        self.times.add("a command", "ssh", start.elapsed() / few);
    }
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let sizes = Sizes {
        rounds: numbers.next().unwrap_or(3),
        megabytes: numbers.next().unwrap_or(1024),
        files: numbers.next().unwrap_or(5000),
        commands: numbers
            .next()
            .map_or(200, |n| u32::try_from(n).expect("a small number")),
    };
    let server = sshd().await.expect("sshd");
    let link = server.link().await;
    let content = tempfile::tempdir().expect("a folder");
    make_content(content.path(), &sizes);
    let mut bench = Bench {
        peer: OpenSsh::new(&server),
        link: &link,
        content: content.path(),
        ground: content.path().join("ground"),
        times: Times::default(),
        round: 0,
    };
    for round in 0..sizes.rounds {
        bench.round = round;
        bench.file_up().await;
        bench.file_down().await;
        bench.folder().await;
        bench.commands(sizes.commands).await;
    }
    bench.times.print();
}
