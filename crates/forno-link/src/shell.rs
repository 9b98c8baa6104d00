//! A person at the machine.
//!
//! With a terminal on this side, the machine gets a pseudo terminal and the two
//! are joined; without one (a pipe, CI), a command runs as any other.

use std::io::{self, Read, Write};

use async_trait::async_trait;
use bytes::Bytes;
use russh::ChannelMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::link::{Command, Sink, Stdin, Stream};
use crate::ssh::{SshLink, signal_name};
use crate::ssm::channel::End;
use crate::ssm::{InstanceTerminal, TerminalSize};
use crate::terminal::Terminal;
pub use crate::terminal::is_interactive;
use crate::{Error, ErrorKind, Exit, Link};

/// How a session is begun.
#[derive(Clone, Debug)]
pub struct ShellOptions {
    /// Instead of a login shell.
    pub command: Option<String>,
    /// The kind of local terminal, as in `TERM`.
    pub term: String,
}

/// Gives the local terminal to a login shell (or to a command) on the machine
/// until that ends.
pub async fn shell(
    link: &SshLink,
    options: &ShellOptions,
    cancel: &CancellationToken,
) -> Result<Exit, Error> {
    if is_interactive() {
        joined(link, options, cancel).await
    } else {
        let script = options.command.clone();
        piped(link, script.unwrap_or_else(|| LOGIN.to_owned()), cancel).await
    }
}

async fn joined(
    link: &SshLink,
    options: &ShellOptions,
    cancel: &CancellationToken,
) -> Result<Exit, Error> {
    let local = |error| {
        let what = "cannot use the terminal".to_owned();
        link.as_link().error(ErrorKind::Local { what, error })
    };
    let mut resized = signal(SignalKind::window_change()).map_err(local)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(local)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(local)?;
    let mut channel = link.channel().await?;
    let terminal = Terminal::raw().map_err(local)?;
    let (columns, rows) = terminal.size();
    let gone = |_| link.lost();
    channel
        .request_pty(false, &options.term, columns, rows, 0, 0, &[])
        .await
        .map_err(gone)?;
    match &options.command {
        Some(command) => channel.exec(false, command.as_str()).await,
        None => channel.request_shell(false).await,
    }
    .map_err(gone)?;

    let mut exit = None;
    let mut typed = [0; 4096];
    loop {
        tokio::select! {
            message = channel.wait() => match message {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    terminal.write_all(&data).await.map_err(local)?;
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(Exit::Code(exit_status)),
                Some(ChannelMsg::ExitSignal { signal_name: name, .. }) => {
                    exit = Some(Exit::Signal(signal_name(&name)));
                }
                Some(ChannelMsg::Failure) => {
                    return Err(link.as_link().error(ErrorKind::Denied("open a shell".into())));
                }
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            },
            count = terminal.read(&mut typed) => {
                let count = count.map_err(local)?;
                if count == 0 {
                    channel.eof().await.map_err(gone)?;
                    break;
                }
                let bytes = Bytes::copy_from_slice(&typed[..count]);
                channel.data_bytes(bytes).await.map_err(gone)?;
            }
            _ = resized.recv() => {
                let (columns, rows) = terminal.size();
                channel.window_change(columns, rows, 0, 0).await.map_err(gone)?;
            }
            // Closing a channel with a pseudo terminal hangs up what runs there.
            () = cancel.cancelled() => return Err(link.as_link().error(ErrorKind::Cancelled)),
            _ = terminated.recv() => return Err(link.as_link().error(ErrorKind::Cancelled)),
            _ = hung_up.recv() => return Err(link.as_link().error(ErrorKind::Cancelled)),
        }
    }
    exit.ok_or_else(|| link.lost())
}

/// Gives the local terminal to one on an instance until that ends. How what ran
/// there ended is not told by a session.
pub async fn shell_in(
    terminal: &InstanceTerminal,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let failed = |kind| Error::new(terminal.instance_id.clone(), kind);
    let local = |error| {
        let what = "cannot use the terminal".to_owned();
        failed(ErrorKind::Local { what, error })
    };
    let mut resized = signal(SignalKind::window_change()).map_err(local)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(local)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(local)?;
    let here = Terminal::raw().map_err(local)?;
    let size_of = |here: &Terminal| {
        let (columns, rows) = here.size();
        TerminalSize { columns, rows }
    };
    let (size, sizes) = watch::channel(size_of(&here));
    let stream = tokio::select! {
        stream = terminal.open(sizes) => stream.map_err(failed)?,
        () = cancel.cancelled() => return Err(failed(ErrorKind::Cancelled)),
        _ = terminated.recv() => return Err(failed(ErrorKind::Cancelled)),
        _ = hung_up.recv() => return Err(failed(ErrorKind::Cancelled)),
    };
    let hangup = stream.hangup();
    let (mut shown, mut keys) = tokio::io::split(stream);
    let mut screen = vec![0; 16 * 1024];
    let mut typed = [0; 4096];
    // Typing waits for the machine, and nothing else does.
    let mut unsent = Bytes::new();
    loop {
        tokio::select! {
            count = shown.read(&mut screen) => match count {
                Ok(0) => return Ok(()),
                Ok(count) => here.write_all(&screen[..count]).await.map_err(local)?,
                Err(error) => return Err(failed(hangup.end().map_or_else(
                    || ErrorKind::Lost(error.to_string()),
                    End::kind,
                ))),
            },
            sent = keys.write_buf(&mut unsent), if !unsent.is_empty() => {
                if sent.is_err() {
                    // Reading knows why.
                    unsent.clear();
                }
            }
            count = here.read(&mut typed), if unsent.is_empty() => {
                let count = count.map_err(local)?;
                if count == 0 {
                    return Ok(());
                }
                unsent = Bytes::copy_from_slice(&typed[..count]);
            }
            _ = resized.recv() => { size.send_replace(size_of(&here)); }
            () = cancel.cancelled() => return Err(failed(ErrorKind::Cancelled)),
            _ = terminated.recv() => return Err(failed(ErrorKind::Cancelled)),
            _ = hung_up.recv() => return Err(failed(ErrorKind::Cancelled)),
        }
    }
}

/// A command, or a login shell that reads a pipe, over a link that has no
/// terminals.
pub async fn by_lines(
    link: &dyn Link,
    command: Option<String>,
    cancel: &CancellationToken,
) -> Result<Exit, Error> {
    piped(link, command.unwrap_or_else(|| LOGIN.to_owned()), cancel).await
}

const LOGIN: &str = r#"exec "${SHELL:-/bin/sh}" -l"#;

async fn piped(link: &dyn Link, script: String, cancel: &CancellationToken) -> Result<Exit, Error> {
    let (sender, receiver) = mpsc::channel(4);
    // Not one of the runtime's threads: a read that nothing ends would keep the
    // runtime, and with it the process, from ending.
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let chunk = match io::stdin().read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) => Err(error),
            };
            if sender.blocking_send(chunk).is_err() {
                break;
            }
        }
    });
    let command = Command::shell(script).stdin(Stdin::Stream(receiver));
    link.exec(command, Box::new(Standard), cancel).await
}

/// This process's own standard output and error.
struct Standard;

#[async_trait]
impl Sink for Standard {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> io::Result<()> {
        let written = tokio::task::spawn_blocking(move || {
            if stream == Stream::Stderr {
                io::stderr().write_all(&chunk)
            } else {
                let mut out = io::stdout().lock();
                out.write_all(&chunk)?;
                out.flush()
            }
        });
        written.await.map_err(io::Error::other)?
    }
}
