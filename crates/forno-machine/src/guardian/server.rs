//! The guardian's own side: a small process server without a runtime.
//!
//! One thread reads requests, one reaps. A child is reaped only under the lock
//! under which it is started, so its end is never told before its start.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, wait, waitid,
};

use super::protocol::{Call, Exit, Message, Reply, Request, SignalName};

/// How long the end may take before the guardian leaves the rest to the kernel.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// Runs the guardian over its standard input, a socket. `args` are the lock
/// file, then the cgroup folders to remove at the end.
pub(crate) fn serve(args: &[PathBuf]) -> ExitCode {
    let Some((lock_path, cgroups)) = args.split_first() else {
        return ExitCode::from(2);
    };
    // A session of its own: a terminal that closes must not end it first.
    let _ = rustix::process::setsid();
    let namespaced = rustix::process::getpid().is_init();
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let socket = UnixStream::from(stdin);
    // The lock tells a successor that this guardian has not finished yet.
    let Ok(lock) = File::create(lock_path) else {
        return ExitCode::FAILURE;
    };
    if lock.lock().is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(writer) = socket.try_clone() else {
        return ExitCode::FAILURE;
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            writer,
            children: HashMap::new(),
        }),
        changed: Condvar::new(),
        namespaced,
    });
    thread::spawn({
        let shared = Arc::clone(&shared);
        move || reap(&shared)
    });
    for line in BufReader::new(socket).lines() {
        let Ok(line) = line else { break };
        let Ok(call) = serde_json::from_str::<Call>(&line) else {
            break;
        };
        handle(&shared, call);
    }
    end(&shared, cgroups);
    drop(lock);
    ExitCode::SUCCESS
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    namespaced: bool,
}

struct State {
    writer: UnixStream,
    children: HashMap<u32, Child>,
}

/// What is known of a child.
enum Child {
    /// Its end is told to the owner.
    Spawned,
    /// Somebody here waits for its end.
    Run(Option<Exit>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(&mut self, message: &Message) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            // A lost owner is noticed where its requests are read.
            drop(self.writer.write_all(&line));
        }
    }

    fn reply(&mut self, id: u64, reply: Reply) {
        self.send(&Message::Reply { id, reply });
    }
}

fn handle(shared: &Arc<Shared>, Call { id, request }: Call) {
    match request {
        Request::Spawn {
            argv,
            env,
            cwd,
            output,
        } => {
            spawned(shared, id, &argv, || {
                spawn(&argv, &env, &cwd, &output, shared.namespaced)
            });
        }
        Request::Start {
            argv,
            stdout,
            stderr,
        } => spawned(shared, id, &argv, || start(&argv, &stdout, &stderr)),
        Request::KillAll { pid } => {
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                kill_all(&shared, pid);
                shared.lock().reply(id, Reply::Done);
            });
        }
        Request::Run { argv, input } => {
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                let reply = run(&shared, &argv, &input).unwrap_or_else(|e| failed(&argv, &e));
                shared.lock().reply(id, reply);
            });
        }
        Request::Signal { pid, signal } => {
            let mut state = shared.lock();
            // Only what is known not to be reaped: a number may be used again.
            let known = state.children.contains_key(&pid)
                || state
                    .children
                    .keys()
                    .any(|&parent| is_child_of(pid, parent));
            if known {
                send_signal(pid, signal);
            }
            state.reply(id, Reply::Done);
        }
        Request::Leader { pid } => {
            let leader = leader_of(pid);
            shared.lock().reply(id, Reply::Leader { pid: leader });
        }
    }
}

/// Starts a process under the lock, so that its end is never told before its
/// start.
fn spawned(shared: &Shared, id: u64, argv: &[String], start: impl FnOnce() -> io::Result<u32>) {
    let mut state = shared.lock();
    let reply = match start() {
        Ok(pid) => {
            state.children.insert(pid, Child::Spawned);
            Reply::Spawned { pid }
        }
        Err(error) => failed(argv, &error),
    };
    state.reply(id, reply);
    drop(state);
    shared.changed.notify_all();
}

fn failed(argv: &[String], error: &io::Error) -> Reply {
    let program = argv.first().map_or("", String::as_str);
    Reply::Failed {
        what: format!("cannot run {program}: {error}"),
    }
}

fn command(argv: &[String]) -> io::Result<Command> {
    let (program, rest) = argv
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(program);
    command.args(rest);
    Ok(command)
}

fn spawn(
    argv: &[String],
    env: &[(String, String)],
    cwd: &Path,
    output: &Path,
    namespaced: bool,
) -> io::Result<u32> {
    // Without a PID namespace the kernel is asked to end the child with this
    // process. The signal follows the thread, and this is the main one.
    let wrapped;
    let argv = if namespaced {
        argv
    } else {
        wrapped = ["setpriv", "--pdeathsig", "KILL", "--"]
            .into_iter()
            .map(str::to_owned)
            .chain(argv.iter().cloned())
            .collect::<Vec<_>>();
        &wrapped
    };
    let log = OpenOptions::new().create(true).append(true).open(output)?;
    let child = command(argv)?
        .envs(env.iter().map(|(k, v)| (k, v)))
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child.id())
}

fn start(argv: &[String], stdout: &Path, stderr: &Path) -> io::Result<u32> {
    let child = command(argv)?
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(passage(stdout)?)
        .stderr(passage(stderr)?)
        .spawn()?;
    Ok(child.id())
}

/// A named pipe for a process to write to. Opened without waiting: nobody may
/// read it any more, and the guardian waits for nobody.
fn passage(path: &Path) -> io::Result<File> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let pipe = OpenOptions::new()
        .write(true)
        .custom_flags(nonblock)
        .open(path)?;
    rustix::fs::fcntl_setfl(&pipe, OFlags::WRONLY)?;
    Ok(pipe)
}

fn run(shared: &Shared, argv: &[String], input: &str) -> io::Result<Reply> {
    let mut state = shared.lock();
    let mut child = command(argv)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    state.children.insert(pid, Child::Run(None));
    drop(state);
    shared.changed.notify_all();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let errors = thread::spawn(move || read_all(stderr));
    if let Some(mut stdin) = stdin {
        // A program that does not read its input says why in its exit status.
        drop(stdin.write_all(input.as_bytes()));
    }
    let stdout = read_all(stdout);
    let stderr = errors.join().unwrap_or_default();
    let mut state = shared.lock();
    loop {
        if let Some(Child::Run(Some(exit))) = state.children.get(&pid) {
            let exit = *exit;
            state.children.remove(&pid);
            return Ok(Reply::Ran {
                exit,
                stdout,
                stderr,
            });
        }
        state = shared
            .changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

fn read_all(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        drop(stream.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reaps for ever. Waiting leaves the dead child in place; it is taken away
/// under the lock, where a start in progress has finished.
fn reap(shared: &Shared) {
    loop {
        let found = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let mut state = shared.lock();
        match found {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => {
                if reap_one(&mut state) {
                    shared.changed.notify_all();
                }
            }
            // No children: wait for one to be started.
            Err(_) => {
                drop(
                    shared
                        .changed
                        .wait_timeout(state, Duration::from_millis(200)),
                );
            }
        }
    }
}

fn reap_one(state: &mut State) -> bool {
    // Any child: an orphaned one may be in a process group of its own.
    let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
        return false;
    };
    let exit = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    };
    let pid = pid.as_raw_nonzero().get().unsigned_abs();
    match state.children.get_mut(&pid) {
        Some(Child::Run(slot)) => *slot = Some(exit),
        Some(Child::Spawned) => {
            state.children.remove(&pid);
            state.send(&Message::Exited { pid, exit });
        }
        // An orphan that this namespace's first process inherited.
        None => {}
    }
    true
}

fn send_signal(pid: u32, signal: SignalName) {
    let signal = match signal {
        SignalName::Int => Signal::INT,
        SignalName::Term => Signal::TERM,
        SignalName::Kill => Signal::KILL,
        SignalName::Stop => Signal::STOP,
    };
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// All processes that this process can see, with their parents.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_of(pid, 1)
}

fn session_of(pid: u32) -> Option<u32> {
    stat_of(pid, 3)
}

/// A field of a process's status, counted from its state.
fn stat_of(pid: u32, field: usize) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(field)?.parse().ok()
}

fn is_child_of(pid: u32, parent: u32) -> bool {
    parent_of(pid) == Some(parent)
}

/// How often descendants are looked for: new ones may appear while the old ones
/// are being killed.
const HUNTS: u32 = 200;

/// Ends a child with all of its descendants, and whoever is in a session that
/// one of them leads.
fn kill_all(shared: &Shared, pid: u32) {
    // Only what is known not to be reaped.
    if !shared.lock().children.contains_key(&pid) {
        return;
    }
    // It starts nothing new while its descendants are looked for.
    send_signal(pid, SignalName::Stop);
    let mut family = BTreeSet::from([pid]);
    for _ in 0..HUNTS {
        let all = processes();
        // Parents may come after their children in the list.
        loop {
            let more = all
                .iter()
                .filter(|(other, _)| !family.contains(other))
                .filter(|(other, parent)| {
                    family.contains(parent)
                        || session_of(*other).is_some_and(|session| family.contains(&session))
                })
                .map(|(other, _)| *other)
                .collect::<Vec<_>>();
            if more.is_empty() {
                break;
            }
            family.extend(more);
        }
        let targets = all
            .iter()
            .map(|(other, _)| *other)
            .filter(|other| *other != pid && family.contains(other) && !is_zombie(*other))
            .collect::<Vec<_>>();
        if targets.is_empty() {
            break;
        }
        for target in targets {
            send_signal(target, SignalName::Kill);
        }
        let state = shared.lock();
        drop(shared.changed.wait_timeout(state, Duration::from_millis(5)));
    }
    send_signal(pid, SignalName::Kill);
}

/// The child of `pid` that is the first process of an inner PID namespace.
fn leader_of(pid: u32) -> Option<u32> {
    processes()
        .into_iter()
        .filter(|&(_, parent)| parent == pid)
        .map(|(child, _)| child)
        .find(|child| {
            std::fs::read_to_string(format!("/proc/{child}/status")).is_ok_and(|status| {
                status.lines().any(|line| {
                    let mut ids = line.split_ascii_whitespace();
                    ids.next() == Some("NSpid:") && ids.next_back() == Some("1")
                })
            })
        })
}

/// Ends everything: first what it started, then (being the first of its
/// namespace) whatever else is there, then the cgroups that are empty now.
fn end(shared: &Shared, cgroups: &[PathBuf]) {
    let deadline = Instant::now() + END_DEADLINE;
    let me = std::process::id();
    loop {
        let state = shared.lock();
        let mut targets = state.children.keys().copied().collect::<Vec<_>>();
        if shared.namespaced {
            targets.extend(processes().into_iter().map(|(pid, _)| pid));
        }
        targets.retain(|&pid| pid != me && !is_zombie(pid));
        let late = Instant::now() > deadline;
        if targets.is_empty() || late {
            break;
        }
        for pid in targets {
            send_signal(pid, SignalName::Kill);
        }
        drop(
            shared
                .changed
                .wait_timeout(state, Duration::from_millis(20)),
        );
    }
    for folder in cgroups {
        crate::cgroup::remove_tree(folder);
    }
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    })
}
