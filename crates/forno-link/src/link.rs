//! The trait that everything above stands on, and the plain types of a command.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
pub use forno_events::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::transfer::{self, FileTarget, Progress, TreeTarget};
use crate::{Error, ErrorKind, HostKey, Watch};

/// A way to one machine.
///
/// `exec`, `reconnect` and `close` are what a kind of link must bring; moving
/// files is done with `exec` and its standard input, unless a link has
/// something better.
#[async_trait]
pub trait Link: Send + Sync + std::fmt::Debug {
    /// `user@address:port` or `user@instance`, for messages.
    fn peer(&self) -> String;

    /// The user that commands run as.
    fn user(&self) -> &str;

    /// Whether the connection was alive when last looked at.
    fn is_connected(&self) -> bool;

    /// What a foreign SSH client needs to reach the same machine, where that is
    /// possible at all.
    fn ssh_access(&self) -> Option<SshAccess> {
        None
    }

    /// Runs a command to its end.
    ///
    /// `Ok` says how the command ended by itself. When `cancel` is triggered, the
    /// command's time is over, or the future is dropped, everything that the
    /// command started is terminated on the machine: SIGTERM, then SIGKILL.
    async fn exec(
        &self,
        command: Command,
        sink: Box<dyn Sink>,
        cancel: &CancellationToken,
    ) -> Result<Exit, Error>;

    /// Drops the connection, if any is left, and makes a new one to the same
    /// machine (same host key), trying until `within` is over.
    async fn reconnect(
        &self,
        within: Duration,
        watch: &Watch,
        cancel: &CancellationToken,
    ) -> Result<(), Error>;

    /// Ends the connection. Commands that still run are not waited for.
    async fn close(&self);

    /// A local file to a file, atomically: nobody sees half of it.
    async fn upload_file(
        &self,
        from: &Path,
        to: &FileTarget,
        progress: Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        transfer::upload_file(self.as_link(), from, to, progress, cancel).await
    }

    /// Bytes to a file, atomically.
    async fn upload_bytes(
        &self,
        content: Bytes,
        to: &FileTarget,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        transfer::upload_bytes(self.as_link(), content, to, cancel).await
    }

    /// The content of a local folder into a folder, which is made if missing;
    /// files that it holds besides stay.
    async fn upload_tree(
        &self,
        from: &Path,
        to: &TreeTarget,
        progress: Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        transfer::upload_tree(self.as_link(), from, to, progress, cancel).await
    }

    /// A file of the machine to a local one, atomically.
    async fn download_file(
        &self,
        from: &str,
        to: &Path,
        sudo: bool,
        progress: Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        transfer::download_file(self.as_link(), from, to, sudo, progress, cancel).await
    }

    /// The content of a folder of the machine into a local one. Owners are not
    /// kept, modes are, without set-id bits.
    async fn download_tree(
        &self,
        from: &str,
        to: &Path,
        sudo: bool,
        progress: Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        transfer::download_tree(self.as_link(), from, to, sudo, progress, cancel).await
    }

    /// Itself as an object; write `self`.
    fn as_link(&self) -> &dyn Link;
}

/// How a foreign SSH client, such as Ansible's, reaches the machine.
#[derive(Clone, Debug)]
pub struct SshAccess {
    pub address: SocketAddr,
    pub user: String,
    pub host_key: HostKey,
    /// The public half of the key that is let in, as an OpenSSH line.
    pub public_key: String,
    /// An agent that signs with it; none was made when missing.
    pub agent_socket: Option<PathBuf>,
    /// What OpenSSH's clients are told besides, each as `NAME=VALUE`.
    pub options: Vec<String>,
}

/// A command line for the machine's POSIX shell, and what goes with it.
#[derive(Debug)]
pub struct Command {
    /// Run by `sh -c`. Put words together with [`crate::quote`].
    pub script: String,
    /// As root: by `sudo -n` unless the link is root's already.
    pub sudo: bool,
    pub stdin: Stdin,
    /// The standard input holds no secret: a link may pass it where it can be
    /// read later. None does unless this is said.
    pub public_stdin: bool,
    /// All together.
    pub timeout: Option<Duration>,
    /// Without any byte in either direction.
    pub idle_timeout: Option<Duration>,
}

impl Command {
    /// A command line as a shell reads it.
    pub fn shell(script: impl Into<String>) -> Self {
        Self {
            script: script.into(),
            sudo: false,
            stdin: Stdin::Empty,
            public_stdin: false,
            timeout: None,
            idle_timeout: None,
        }
    }

    /// A program and its arguments, each passed as it is.
    pub fn words<I, S>(words: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        Self::shell(crate::quote::line(words))
    }

    /// A script and its arguments, `$1` and so on.
    pub fn script<I, S>(script: &str, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        Self::shell(format!("set -- {}\n{script}", crate::quote::line(args)))
    }

    pub fn sudo(mut self, sudo: bool) -> Self {
        self.sudo = sudo;
        self
    }

    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    pub fn public_stdin(mut self, public: bool) -> Self {
        self.public_stdin = public;
        self
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }
}

/// A command's standard input.
#[derive(Debug)]
pub enum Stdin {
    /// End of file at once.
    Empty,
    Bytes(Bytes),
    /// Chunks until the sender is dropped. An error in it stops the command and
    /// is what `exec` returns. Chunks of about 256 KiB are fastest.
    Stream(mpsc::Receiver<std::io::Result<Bytes>>),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(u32),
    /// Killed by a signal, by its name without `SIG`.
    Signal(String),
}

impl Exit {
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(name) => write!(f, "killed by SIG{name}"),
        }
    }
}

/// Where a command's output goes.
///
/// It is called by the task that reads the channel: while it waits, the other
/// channels of the connection wait too. An error ends the command.
#[async_trait]
pub trait Sink: Send {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> std::io::Result<()>;
}

/// A sink that throws everything away.
#[derive(Clone, Copy, Debug)]
pub struct Discard;

#[async_trait]
impl Sink for Discard {
    async fn write(&mut self, _: Stream, _: Bytes) -> std::io::Result<()> {
        Ok(())
    }
}

/// A sink that keeps both streams in memory, each up to a limit; what comes
/// later is counted, not kept.
#[derive(Clone, Debug)]
pub struct Captured {
    limit: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped: u64,
}

impl Captured {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Arc::default(),
        }
    }

    /// What was kept so far, as text; it starts anew after this.
    pub fn output(&self, exit: Exit) -> Output {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept {
            stdout,
            stderr,
            dropped,
        } = std::mem::take(&mut *kept);
        Output {
            exit,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            dropped,
        }
    }
}

#[async_trait]
impl Sink for Captured {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> std::io::Result<()> {
        if let Ok(mut kept) = self.kept.lock() {
            let buffer = match stream {
                Stream::Stderr => &mut kept.stderr,
                Stream::Stdout | Stream::Console => &mut kept.stdout,
            };
            let room = self.limit.saturating_sub(buffer.len()).min(chunk.len());
            buffer.extend_from_slice(&chunk[..room]);
            kept.dropped += (chunk.len() - room) as u64;
        }
        Ok(())
    }
}

/// What a short command said.
#[derive(Clone, Debug)]
pub struct Output {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
    /// Bytes that were too many to keep.
    pub dropped: u64,
}

impl Output {
    /// The last line of standard error, or of standard output, or the exit.
    pub fn reason(&self) -> String {
        let last = |text: &str| {
            text.lines()
                .map(str::trim)
                .rfind(|line| !line.is_empty())
                .map(str::to_owned)
        };
        last(&self.stderr)
            .or_else(|| last(&self.stdout))
            .unwrap_or_else(|| self.exit.to_string())
    }
}

/// Runs a command whose output is small (at most 1 MiB per stream is kept), as
/// text.
pub async fn capture(
    link: &dyn Link,
    command: Command,
    cancel: &CancellationToken,
) -> Result<Output, Error> {
    let sink = Captured::new(1 << 20);
    let exit = link.exec(command, Box::new(sink.clone()), cancel).await?;
    Ok(sink.output(exit))
}

impl dyn Link + '_ {
    /// An error of this link.
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.peer(), kind)
    }
}
