//! The owner's side: requests out, replies and ends of processes in.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::predecessor;
use super::protocol::{Call, Exit, Message, Reply, Request, SignalName};
use crate::{Error, ErrorKind};

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Spawn {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    pub output: PathBuf,
}

/// A process that the guardian started and watches.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub pid: u32,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Waits for its end. None: the guardian is gone and took it along.
    pub(crate) async fn exited(&mut self) -> Option<Exit> {
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => *exit,
            Err(_) => None,
        }
    }
}

type Waiting = HashMap<u64, oneshot::Sender<(Reply, Option<watch::Receiver<Option<Exit>>>)>>;

/// The line to the guardian.
#[derive(Debug)]
pub(crate) struct Guardian {
    calls: mpsc::UnboundedSender<(Request, oneshot::Sender<ReplyAndExit>)>,
    gone: CancellationToken,
    closing: CancellationToken,
}

type ReplyAndExit = (Reply, Option<watch::Receiver<Option<Exit>>>);

impl Guardian {
    /// Waits for a lost predecessor's end, then starts the guardian.
    pub(crate) async fn start(
        exe: &Path,
        run_dir: &Path,
        cgroups: &[PathBuf],
    ) -> Result<Self, Error> {
        predecessor::outlive(run_dir).await?;
        let (ours, theirs) =
            StdUnixStream::pair().map_err(|e| Error::io("cannot make a socket pair", e))?;
        let log_path = run_dir.join("guardian.log");
        let log =
            std::fs::File::create(&log_path).map_err(|e| Error::file("create", &log_path, e))?;
        let log_too = log
            .try_clone()
            .map_err(|e| Error::file("open", &log_path, e))?;
        let mut argv = Vec::<OsString>::new();
        if rustix::process::geteuid().is_root() {
            // The mounts of this computer stay visible and follow it; ours stay
            // inside.
            argv.extend(
                [
                    "unshare",
                    "--pid",
                    "--mount",
                    "--propagation",
                    "slave",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "--",
                ]
                .map(OsString::from),
            );
        }
        argv.push(exe.into());
        argv.push(crate::helper::GUARDIAN.into());
        argv.push(predecessor::lock_path(run_dir).into());
        argv.extend(cgroups.iter().map(|path| path.clone().into_os_string()));
        let mut child = tokio::process::Command::new(&argv[0])
            .args(&argv[1..])
            .env("PATH", crate::doctor::PROGRAMS)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(log)
            .stderr(log_too)
            .process_group(0)
            .spawn()
            .map_err(|e| Error::io(format!("cannot start {}", argv[0].display()), e))?;
        if let Some(pid) = child.id() {
            predecessor::record(run_dir, pid)?;
        }
        ours.set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours))
            .map_err(|e| Error::io("cannot talk to the guardian", e))
            .map(|socket| {
                let (calls, requests) = mpsc::unbounded_channel();
                let gone = CancellationToken::new();
                let closing = CancellationToken::new();
                tokio::spawn(converse(socket, requests, closing.clone()));
                let ended = gone.clone();
                tokio::spawn(async move {
                    drop(child.wait().await);
                    ended.cancel();
                });
                Self {
                    calls,
                    gone,
                    closing,
                }
            })
    }

    /// Closes the line and waits until the guardian has ended everything.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.gone.cancelled().await;
    }

    /// Closes the line without waiting.
    pub(crate) fn close_soon(&self) {
        self.closing.cancel();
    }

    async fn call(&self, request: Request) -> Result<ReplyAndExit, Error> {
        let (sender, receiver) = oneshot::channel();
        self.calls
            .send((request, sender))
            .map_err(|_| guardian_lost())?;
        let (reply, exit) = receiver.await.map_err(|_| guardian_lost())?;
        match reply {
            Reply::Failed { what } => Err(Error::new(ErrorKind::Command, what)),
            reply => Ok((reply, exit)),
        }
    }

    /// Starts a process that lives on.
    pub(crate) async fn spawn(&self, spawn: Spawn) -> Result<Process, Error> {
        let request = Request::Spawn {
            argv: spawn.argv,
            env: spawn.env,
            cwd: spawn.cwd,
            output: spawn.output,
        };
        match self.call(request).await? {
            (Reply::Spawned { pid }, Some(exit)) => Ok(Process { pid, exit }),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Starts a process that lives on, and writes into two named pipes.
    pub(crate) async fn spawn_apart(
        &self,
        argv: Vec<String>,
        stdout: &Path,
        stderr: &Path,
    ) -> Result<Process, Error> {
        let request = Request::Start {
            argv,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        match self.call(request).await? {
            (Reply::Spawned { pid }, Some(exit)) => Ok(Process { pid, exit }),
            other => Err(unexpected(&other.0)),
        }
    }

    /// Ends a process that was started, its descendants and their sessions.
    pub(crate) async fn kill_all(&self, pid: u32) -> Result<(), Error> {
        self.call(Request::KillAll { pid }).await.map(drop)
    }

    /// Runs a program to its end and returns its output; anything but success
    /// is an error that carries what it said.
    pub(crate) async fn run(&self, argv: &[&str], input: &str) -> Result<String, Error> {
        let request = Request::Run {
            argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
            input: input.to_owned(),
        };
        match self.call(request).await?.0 {
            Reply::Ran { exit, stdout, .. } if exit.success() => Ok(stdout),
            Reply::Ran { exit, stderr, .. } => Err(Error::new(
                ErrorKind::Command,
                format!("{} failed ({exit}): {}", argv.join(" "), stderr.trim()),
            )),
            other => Err(unexpected(&other)),
        }
    }

    /// Signals a process; one that is gone already is no error.
    pub(crate) async fn signal(&self, pid: u32, signal: SignalName) -> Result<(), Error> {
        self.call(Request::Signal { pid, signal }).await.map(drop)
    }

    /// The first process of the PID namespace that `pid` made.
    pub(crate) async fn leader(&self, pid: u32) -> Result<Option<u32>, Error> {
        match self.call(Request::Leader { pid }).await?.0 {
            Reply::Leader { pid } => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }
}

fn guardian_lost() -> Error {
    Error::new(
        ErrorKind::Guardian,
        "the guardian process is gone, and with it every machine of this host",
    )
}

fn unexpected(reply: &Reply) -> Error {
    Error::new(
        ErrorKind::Guardian,
        format!("the guardian answered out of turn: {reply:?}"),
    )
}

/// Owns the socket: writes what is asked, hands out what comes back.
async fn converse(
    socket: UnixStream,
    mut requests: mpsc::UnboundedReceiver<(Request, oneshot::Sender<ReplyAndExit>)>,
    closing: CancellationToken,
) {
    let (reader, mut writer) = socket.into_split();
    let waiting = Arc::new(Mutex::new(Waiting::new()));
    let listening = listen(reader, Arc::clone(&waiting));
    tokio::pin!(listening);
    let mut next_id = 0_u64;
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            result = &mut listening => {
                if let Err(error) = result {
                    tracing::warn!(%error, "the line to the guardian broke");
                }
                break;
            }
            request = requests.recv() => {
                let Some((request, sender)) = request else { break };
                next_id += 1;
                waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(next_id, sender);
                let call = Call { id: next_id, request };
                let Ok(mut line) = serde_json::to_vec(&call) else { continue };
                line.push(b'\n');
                if writer.write_all(&line).await.is_err() {
                    break;
                }
            }
        }
    }
}

async fn listen(reader: OwnedReadHalf, waiting: Arc<Mutex<Waiting>>) -> io::Result<()> {
    let mut exits = HashMap::<u32, watch::Sender<Option<Exit>>>::new();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str::<Message>(&line)? {
            Message::Reply { id, reply } => {
                let exit = if let Reply::Spawned { pid } = &reply {
                    let (sender, receiver) = watch::channel(None);
                    exits.insert(*pid, sender);
                    Some(receiver)
                } else {
                    None
                };
                let asked = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&id);
                if let Some(asked) = asked {
                    // Whoever asked may have stopped waiting.
                    drop(asked.send((reply, exit)));
                }
            }
            Message::Exited { pid, exit } => {
                if let Some(sender) = exits.remove(&pid) {
                    sender.send_replace(Some(exit));
                }
            }
        }
    }
    Ok(())
}
