//! Run Command without AWS: scripts really run on this computer, as the agent
//! would have them run, and presigned URLs are served on loopback. It delays and
//! cuts as Systems Manager does, and loses what it is told to lose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Watch;
use crate::ssm::{
    CommandOutput, CommandState, Commands, DataKey, Pace, Ping, Purpose, Refusal, RefusalKind,
    SessionOpened, SsmLink, SsmTarget, Stage, Store, Systems, connect,
};

/// The one instance that there is.
pub const INSTANCE: &str = "i-0123456789abcdef0";

/// The agent's `CommandWorkersLimit`.
const WORKERS: usize = 5;

/// What goes wrong, each so many times.
#[derive(Debug, Default)]
pub struct Faults {
    /// A command is carried out, but its id never arrives.
    pub lost_replies: AtomicU32,
    /// A command is carried out much later, after another of the same kind.
    pub late: AtomicU32,
}

fn strikes(fault: &AtomicU32) -> bool {
    let less = |n: u32| n.checked_sub(1);
    fault
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

/// Systems Manager with one machine, which is this computer.
#[derive(Clone)]
pub struct Machine(Arc<Inner>);

struct Inner {
    dir: TempDir,
    agent: Mutex<Agent>,
    path: Mutex<String>,
    stub: AtomicBool,
    /// 0: without a limit.
    blocks: AtomicU32,
    runs: Mutex<BTreeMap<String, Run>>,
    next: AtomicU64,
    workers: Semaphore,
    faults: Faults,
    /// Calls of `command_states`.
    looks: AtomicU64,
    store: Objects,
}

#[derive(Clone, Debug)]
struct Agent {
    registered: bool,
    online: bool,
    last: SystemTime,
}

#[derive(Debug)]
struct Run {
    script: String,
    sent: Instant,
    stage: Stage,
    output: Option<CommandOutput>,
    asked: u32,
    group: Option<Pid>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn base(&self) -> PathBuf {
        self.dir.path().join("memory/ssm-forno")
    }

    fn documents(&self) -> PathBuf {
        let agent = self.dir.path().join("ssm").join(INSTANCE);
        agent.join("document/orchestration")
    }

    fn folders(&self) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(self.base())
            .into_iter()
            .flatten()
            .flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Scripts, and the commands that they started.
    fn kill(&self) {
        let mut runs = lock(&self.runs);
        let mut groups: Vec<Pid> = runs.values_mut().filter_map(|r| r.group.take()).collect();
        for folder in self.folders() {
            for name in ["serve.pid", "group"] {
                let number = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
                let number = number.trim().parse().ok().filter(|n: &i32| *n > 1);
                groups.extend(number.and_then(Pid::from_raw));
            }
        }
        for group in groups {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Machine {
    /// # Panics
    /// When this computer has no temporary folder, or no loopback.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let memory = dir.path().join("memory");
        fs_err::create_dir(&memory).expect("a folder");
        let machine = Self(Arc::new(Inner {
            dir,
            agent: Mutex::new(Agent {
                registered: true,
                online: true,
                last: SystemTime::now(),
            }),
            stub: AtomicBool::new(false),
            blocks: AtomicU32::new(0),
            path: Mutex::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            runs: Mutex::default(),
            next: AtomicU64::new(1),
            workers: Semaphore::new(WORKERS),
            faults: Faults::default(),
            looks: AtomicU64::new(0),
            store: Objects::serve().await,
        }));
        machine.boot();
        machine
    }

    fn boot(&self) {
        let id = format!("{:032x}\n", rand::random::<u128>());
        fs_err::write(self.0.dir.path().join("boot_id"), id).expect("write the boot id");
    }

    /// A target with little patience, as this user.
    ///
    /// # Panics
    /// When this computer does not know who runs it.
    pub fn target(&self) -> SsmTarget {
        let pace = Pace {
            first: Duration::from_millis(20),
            most: Duration::from_millis(200),
        };
        let commands = Commands::with_pace(Arc::new(self.clone()), pace);
        let store: Arc<dyn Store> = Arc::new(self.0.store.clone());
        let user = super::user().expect("a user");
        let mut target = SsmTarget::new(INSTANCE, user, commands, Some(store));
        target.timing.pause = Duration::from_millis(100);
        target.timing.wait = Duration::from_secs(5);
        target.timing.settle = Duration::from_millis(300);
        target.timing.grace = Duration::from_secs(30);
        target
    }

    /// # Panics
    /// When there is no link.
    pub async fn link(&self) -> Arc<SsmLink> {
        self.link_to(self.target()).await
    }

    /// # Panics
    /// When there is no link.
    pub async fn link_to(&self, target: SsmTarget) -> Arc<SsmLink> {
        let never = CancellationToken::new();
        let link = connect(target, Duration::from_mins(1), &Watch::none(), &never).await;
        Arc::new(link.expect("a link to this computer"))
    }

    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// A folder that lives as long as the machine.
    pub fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// Folders of commands.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.0.folders()
    }

    /// Scripts of which the agent still has a copy.
    pub fn copies(&self) -> usize {
        let entries = fs_err::read_dir(self.0.documents());
        entries.into_iter().flatten().count()
    }

    /// All scripts that were ever sent.
    pub fn scripts(&self) -> Vec<String> {
        let runs = lock(&self.0.runs);
        runs.values().map(|run| run.script.clone()).collect()
    }

    /// Scripts that have not ended.
    pub fn underway(&self) -> usize {
        let runs = lock(&self.0.runs);
        runs.values()
            .filter(|run| run.stage == Stage::Underway)
            .count()
    }

    /// How often it was asked where all commands stand.
    pub fn looks(&self) -> u64 {
        self.0.looks.load(Ordering::SeqCst)
    }

    /// Keys of the objects that lie in the store.
    pub fn objects(&self) -> Vec<String> {
        lock(&self.0.store.0.objects).keys().cloned().collect()
    }

    /// How many objects there have been.
    pub fn puts(&self) -> u64 {
        self.0.store.0.puts.load(Ordering::SeqCst)
    }

    pub fn register(&self, registered: bool) {
        lock(&self.0.agent).registered = registered;
    }

    pub fn go_offline(&self) {
        lock(&self.0.agent).online = false;
    }

    pub fn come_online(&self) {
        let mut agent = lock(&self.0.agent);
        agent.online = true;
        agent.last = SystemTime::now();
    }

    /// Whether a presigned URL was ever an argument of a process.
    pub fn exposed(&self) -> bool {
        self.0.store.0.exposed.load(Ordering::SeqCst)
    }

    /// Where scripts find programs.
    pub fn set_path(&self, path: impl Into<String>) {
        *lock(&self.0.path) = path.into();
    }

    /// No file grows beyond so many blocks of 512 bytes, as where there is no room.
    pub fn limit_files(&self, blocks: u32) {
        self.0.blocks.store(blocks, Ordering::SeqCst);
    }

    /// From now on it says that it is a stub: commands run as whoever runs the
    /// agent, with its environment.
    pub fn be_a_stub(&self) {
        self.0.stub.store(true, Ordering::SeqCst);
    }

    /// So many requests to the store are turned away.
    pub fn fail_requests(&self, count: u32) {
        self.0.store.0.failing.store(count, Ordering::SeqCst);
    }

    /// Everything that runs ends, and what is in memory is gone.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn restart(&self) {
        self.go_offline();
        self.0.kill();
        let base = self.0.base();
        if base.exists() {
            fs_err::remove_dir_all(base).expect("empty the memory");
        }
        self.boot();
        self.come_online();
    }

    async fn carry_out(self, id: String, late: bool) {
        let inner = &self.0;
        let _worker = inner.workers.acquire().await;
        if late {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let delivered = {
            let online = lock(&inner.agent).online;
            if !online {
                // It is what a delivery that times out comes to, sooner.
                let stage = Stage::Undelivered("Delivery Timed Out".into());
                self.over(&id, stage, -1, "", "");
            }
            online
        };
        if !delivered {
            return;
        }
        let script = lock(&inner.runs)
            .get(&id)
            .map_or_else(String::new, |run| run.script.clone());
        // Where the agent has them, and keeps them.
        let folder = inner
            .documents()
            .join(&id)
            .join("awsrunShellScript/0.awsrunShellScript");
        fs_err::create_dir_all(&folder).expect("a folder");
        let path = folder.join("_script.sh");
        fs_err::write(&path, script).expect("write a script");
        let limit = match inner.blocks.load(Ordering::SeqCst) {
            0 => "unlimited".to_owned(),
            blocks => blocks.to_string(),
        };
        let mut command = tokio::process::Command::new("sh");
        command
            .args(["-c", "ulimit -f \"$1\"; exec sh \"$0\""])
            .arg(&path)
            .arg(limit)
            .env_clear()
            .env("PATH", lock(&inner.path).as_str())
            .env("FORNO_STUB_MEMORY", inner.dir.path().join("memory"))
            .env("FORNO_STUB_BOOT_ID", inner.dir.path().join("boot_id"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if inner.stub.load(Ordering::SeqCst) {
            command.env("FORNO_STUB", "1").env("HOME", inner.dir.path());
        }
        let child = command.spawn().expect("run sh");
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(run) = lock(&inner.runs).get_mut(&id) {
            run.group = group.and_then(Pid::from_raw);
        }
        let output = child.wait_with_output().await.expect("wait for sh");
        let _ = fs_err::write(folder.join("stdout"), &output.stdout);
        let first = |bytes: &[u8], most: usize| -> String {
            String::from_utf8_lossy(bytes).chars().take(most).collect()
        };
        let (stdout, stderr) = (first(&output.stdout, 24_000), first(&output.stderr, 8_000));
        let code = output.status.code().unwrap_or(-1);
        self.over(&id, Stage::Ended, code, &stdout, &stderr);
    }

    fn over(&self, id: &str, stage: Stage, code: i32, stdout: &str, stderr: &str) {
        if let Some(run) = lock(&self.0.runs).get_mut(id) {
            run.group = None;
            if run.stage == Stage::Underway {
                run.stage = stage.clone();
                run.output = Some(CommandOutput {
                    stage,
                    response_code: code,
                    stdout: stdout.to_owned(),
                    stderr: stderr.to_owned(),
                });
            }
        }
    }
}

fn unknown(what: &str) -> Refusal {
    Refusal::new(
        RefusalKind::Unknown,
        format!("InvocationDoesNotExist: {what}"),
    )
}

#[async_trait]
impl Systems for Machine {
    async fn ping(&self, _: &str) -> Result<Option<Ping>, Refusal> {
        let agent = lock(&self.0.agent).clone();
        Ok(agent.registered.then(|| Ping {
            online: agent.online,
            last: agent.last,
            agent_version: "3.3.3572.0".into(),
        }))
    }

    async fn send_command(
        &self,
        _: &str,
        script: &str,
        _: Duration,
        _: Duration,
    ) -> Result<String, Refusal> {
        assert!(script.len() < 64 << 10, "{} bytes of script", script.len());
        if !lock(&self.0.agent).registered {
            return Err(Refusal::new(RefusalKind::NotConnected, "InvalidInstanceId"));
        }
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        let id = format!("command-{number:06}");
        let run = Run {
            script: script.to_owned(),
            sent: Instant::now(),
            stage: Stage::Underway,
            output: None,
            asked: 0,
            group: None,
        };
        lock(&self.0.runs).insert(id.clone(), run);
        let late = strikes(&self.0.faults.late);
        tokio::spawn(self.clone().carry_out(id.clone(), late));
        if late || strikes(&self.0.faults.lost_replies) {
            return Err(Refusal::new(RefusalKind::Unreachable, "connection reset"));
        }
        Ok(id)
    }

    async fn command_states(&self, _: SystemTime) -> Result<Vec<CommandState>, Refusal> {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        let runs = lock(&self.0.runs);
        // What was sent just now is not listed yet.
        let listed = runs
            .iter()
            .filter(|(_, run)| run.sent.elapsed() > Duration::from_millis(50));
        Ok(listed
            .map(|(id, run)| CommandState {
                command_id: id.clone(),
                instance_id: INSTANCE.into(),
                stage: run.stage.clone(),
            })
            .collect())
    }

    async fn command_output(&self, id: &str, _: &str) -> Result<CommandOutput, Refusal> {
        let mut runs = lock(&self.0.runs);
        let run = runs.get_mut(id).ok_or_else(|| unknown(id))?;
        run.asked += 1;
        // Every seventh is not there at first.
        if run.asked == 1 && id.ends_with('7') {
            return Err(unknown(id));
        }
        Ok(run.output.clone().unwrap_or(CommandOutput {
            stage: run.stage.clone(),
            response_code: -1,
            stdout: String::new(),
            stderr: String::new(),
        }))
    }

    async fn cancel_command(&self, id: &str) -> Result<(), Refusal> {
        let group = lock(&self.0.runs).get_mut(id).and_then(|run| {
            run.stage = Stage::Cancelled;
            run.group.take()
        });
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok(())
    }

    async fn start_session(&self, _: &str, _: &Purpose) -> Result<SessionOpened, Refusal> {
        Err(no_sessions())
    }

    async fn resume_session(&self, _: &str) -> Result<SessionOpened, Refusal> {
        Err(no_sessions())
    }

    async fn terminate_session(&self, _: &str) -> Result<(), Refusal> {
        Err(no_sessions())
    }

    async fn sign_stream(&self, _: &str) -> Result<Vec<(String, String)>, Refusal> {
        Err(no_sessions())
    }

    async fn data_key(&self, _: &str, _: &[(String, String)]) -> Result<DataKey, Refusal> {
        Err(no_sessions())
    }
}

fn no_sessions() -> Refusal {
    Refusal::new(RefusalKind::Other, "this machine has no sessions")
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

/// Objects, and the server that machines reach them by.
#[derive(Clone)]
struct Objects(Arc<Bucket>);

struct Bucket {
    address: std::net::SocketAddr,
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Paths with their signatures, by method.
    signed: Mutex<BTreeSet<String>>,
    puts: AtomicU64,
    failing: AtomicU32,
    /// A URL was an argument of a process.
    exposed: AtomicBool,
}

impl Objects {
    async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let objects = Self(Arc::new(Bucket {
            address: listener.local_addr().expect("an address"),
            objects: Mutex::default(),
            signed: Mutex::default(),
            puts: AtomicU64::new(0),
            failing: AtomicU32::new(0),
            exposed: AtomicBool::new(false),
        }));
        let bucket = Arc::downgrade(&objects.0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(bucket) = bucket.upgrade() else {
                    return;
                };
                tokio::spawn(async move { bucket.answer(stream).await });
            }
        });
        objects
    }

    fn sign(&self, method: &str, key: &str) -> SecretString {
        // As long as those with a session's token are.
        let signature = format!("{:0>1500x}", rand::random::<u128>());
        let path = format!("/{key}?X-Amz-Signature={signature}");
        lock(&self.0.signed).insert(format!("{method} {path}"));
        format!("http://{}{path}", self.0.address).into()
    }
}

impl Bucket {
    async fn answer(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let request = head.split(" HTTP/").next()?.to_owned();
        self.look_for_arguments();
        let header = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        if header("expect").is_some() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            stream.write_all(go_on).await.ok()?;
        }
        let length = header("content-length").and_then(|n| n.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        let (status, content) = self.status(&request, body.into());
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&content).await.ok()?;
        stream.shutdown().await.ok()
    }

    /// Whoever asks still runs.
    fn look_for_arguments(&self) {
        let ours = format!("http://{}/", self.address);
        for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&ours) {
                self.exposed.store(true, Ordering::SeqCst);
            }
        }
    }

    fn status(&self, request: &str, body: Bytes) -> (&'static str, Bytes) {
        let none = Bytes::new();
        if strikes(&self.failing) {
            return ("503 Slow Down", none);
        }
        if !lock(&self.signed).contains(request) {
            return ("403 Forbidden", none);
        }
        let key = request.split(['/', '?']).collect::<Vec<_>>();
        let key = key[1..key.len() - 1].join("/");
        if request.starts_with("PUT ") {
            lock(&self.objects).insert(key, body);
            self.puts.fetch_add(1, Ordering::SeqCst);
            return ("200 OK", none);
        }
        match lock(&self.objects).get(&key) {
            Some(content) => ("200 OK", content.clone()),
            None => ("404 Not Found", none),
        }
    }
}

#[async_trait]
impl Store for Objects {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Refusal> {
        lock(&self.0.objects).insert(key.to_owned(), content);
        self.0.puts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Bytes, Refusal> {
        let found = lock(&self.0.objects).get(key).cloned();
        found.ok_or_else(|| unknown(key))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Refusal> {
        let mut objects = lock(&self.0.objects);
        for key in keys {
            objects.remove(key);
        }
        Ok(())
    }

    async fn presign_get(&self, key: &str, _: Duration) -> Result<SecretString, Refusal> {
        Ok(self.sign("GET", key))
    }

    async fn presign_put(&self, key: &str, _: Duration) -> Result<SecretString, Refusal> {
        Ok(self.sign("PUT", key))
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}
