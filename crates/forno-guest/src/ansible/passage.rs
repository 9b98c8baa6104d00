//! Forno's link to the machine, lent to the Ansible that it runs: the other side
//! of the connection plugin `forno_link.py`.
//!
//! For links that no foreign client can use. A connection to the socket is one
//! call: a line of JSON, then the input of a command; the answer is in frames.
//! The socket lies in the run's private folder. A caller that hangs up ends its
//! command.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forno_events::Stream;
use forno_link::{Command, Error, Exit, FileTarget, Link, Progress, Sink, Stdin, Watch};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};

use crate::StepContext;

/// A command line is a few KiB, a module on standard input some hundred.
const LONGEST_LINE: u64 = 1 << 20;
const CHUNK: usize = 256 * 1024;

/// For a machine that restarts under a play.
const RECONNECT: Duration = Duration::from_mins(5);

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Call {
    Exec { command: String, input: u64 },
    Put { local: PathBuf, path: String },
    Fetch { local: PathBuf, path: String },
}

/// The kinds of frames.
#[derive(Clone, Copy)]
enum Kind {
    Out = 1,
    Err = 2,
    Code = 3,
    Failed = 4,
    Lost = 5,
}

pub(super) struct Passage {
    listener: UnixListener,
}

impl Passage {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener })
    }

    /// Answers calls until it is dropped.
    pub(super) async fn serve(&self, link: &dyn Link, ctx: &StepContext) -> ! {
        let mut calls = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => calls.push(answer(stream, link, ctx)),
                    // Out of descriptors: some will come free.
                    Err(error) => {
                        tracing::debug!(%error, "a call of Ansible's was not taken");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(()) = calls.next() => {}
            }
        }
    }
}

async fn answer(stream: UnixStream, link: &dyn Link, ctx: &StepContext) {
    let (read, write) = stream.into_split();
    let frames = Frames(Arc::new(Mutex::new(write)));
    let (kind, content) = match carry_out(BufReader::new(read), link, &frames, ctx).await {
        Ok(code) => (Kind::Code, code.to_string()),
        Err(error) if error.is_lost() => (Kind::Lost, error.to_string()),
        Err(error) => (Kind::Failed, error.to_string()),
    };
    // Whoever asked may be gone.
    let _ = frames.send(kind, content.as_bytes()).await;
}

async fn carry_out(
    mut read: BufReader<OwnedReadHalf>,
    link: &dyn Link,
    frames: &Frames,
    ctx: &StepContext,
) -> Result<i64, Error> {
    let cancel = &ctx.cancel;
    let unheard = |error| local(link, "cannot hear Ansible's call", error);
    let mut asked = String::new();
    let mut head = (&mut read).take(LONGEST_LINE);
    head.read_line(&mut asked).await.map_err(unheard)?;
    let call: Call =
        serde_json::from_str(&asked).map_err(|error| unheard(io::Error::other(error)))?;
    if !link.is_connected() {
        link.reconnect(RECONNECT, &Watch::none(), cancel).await?;
    }
    match call {
        Call::Exec { command, input } => {
            let (feed, stdin) = mpsc::channel(4);
            let hung_up = cancel.child_token();
            let command = Command::shell(command)
                .stdin(Stdin::Stream(stdin))
                .public_stdin(ctx.public);
            let run = link.exec(command, Box::new(frames.clone()), &hung_up);
            let feeding = async {
                pour(&mut read, input, feed).await;
                // Nothing more is ever sent: this is the end of the connection.
                let _ = read.read_u8().await;
                hung_up.cancel();
                std::future::pending().await
            };
            let exit = tokio::select! {
                exit = run => exit?,
                never = feeding => never,
            };
            Ok(match exit {
                Exit::Code(code) => code.into(),
                // As a shell tells it; the number of most signals is not worth a table.
                Exit::Signal(name) => match name.as_str() {
                    "KILL" => 137,
                    "TERM" => 143,
                    _ => 128,
                },
            })
        }
        Call::Put { local, path } => {
            let to = FileTarget {
                public: ctx.public,
                ..FileTarget::new(path)
            };
            link.upload_file(&local, &to, Progress::none(), cancel)
                .await?;
            Ok(0)
        }
        Call::Fetch { local, path } => {
            link.download_file(&path, &local, false, Progress::none(), cancel)
                .await?;
            Ok(0)
        }
    }
}

/// The input of a command, and no byte more.
async fn pour(
    read: &mut BufReader<OwnedReadHalf>,
    length: u64,
    feed: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; room];
        let chunk = match read.read(&mut chunk).await {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                left -= count as u64;
                chunk.truncate(count);
                Ok(chunk.into())
            }
            Err(error) => Err(error),
        };
        let broken = chunk.is_err();
        if feed.send(chunk).await.is_err() || broken {
            return;
        }
    }
}

fn local(link: &dyn Link, what: &str, error: io::Error) -> Error {
    let what = what.to_owned();
    Error::new(link.peer(), forno_link::ErrorKind::Local { what, error })
}

#[derive(Clone)]
struct Frames(Arc<Mutex<OwnedWriteHalf>>);

impl Frames {
    async fn send(&self, kind: Kind, content: &[u8]) -> io::Result<()> {
        let mut write = self.0.lock().await;
        for part in content.chunks(CHUNK) {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            let mut head = [kind as u8, 0, 0, 0, 0];
            head[1..].copy_from_slice(&length.to_be_bytes());
            write.write_all(&head).await?;
            write.write_all(part).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Frames {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> io::Result<()> {
        let kind = match stream {
            Stream::Stderr => Kind::Err,
            Stream::Stdout | Stream::Console => Kind::Out,
        };
        self.send(kind, &chunk).await
    }
}
