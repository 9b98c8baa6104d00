//! Scripts inside a stub: run as root's commands that come over its SSH server.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;

use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{Group, shell};
use super::scratch::Scratch;
use crate::inside::{Ended, Running, Script};
use crate::{Error, ErrorKind};

/// The way into one boot of a stub.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    pub(super) scratch: Scratch,
    /// A command has ended; it may have asked something of the machine.
    pub(super) command_ended: mpsc::UnboundedSender<()>,
    pub(super) down: CancellationToken,
    pub(super) commands: TaskTracker,
}

/// Starts a script.
pub(crate) fn run(inside: Inside, script: Script) -> Result<Running, Error> {
    if inside.down.is_cancelled() {
        return Err(Error::new(ErrorKind::Invalid, "the stub goes down"));
    }
    let placed = inside.scratch.memory.join("agent").join(&script.name);
    let file = placed.join("_script.sh");
    fs_err::create_dir_all(&placed)
        .and_then(|()| fs_err::write(&file, &script.text))
        .and_then(|()| fs_err::set_permissions(&file, PermissionsExt::from_mode(0o700)))
        .map_err(|e| Error::file("write", &file, e))?;
    let home = inside.scratch.home.to_string_lossy().into_owned();
    let words = [
        script.folder.unwrap_or(home),
        file.to_string_lossy().into_owned(),
    ];
    let [folder, file] = words.map(|word| shell_words::quote(&word).into_owned());
    let command = format!("cd {folder} && exec sh -c {file}");
    let mut child = shell(&inside.scratch, &script.env, &command)
        .stdin(std::process::Stdio::null())
        .spawn()
        .map_err(|e| Error::io("cannot run sh", e))?;
    let broken = |e| Error::io("cannot read what a script writes", e);
    let out = child.stdout.take().map(ChildStdout::into_owned_fd);
    let err = child.stderr.take().map(ChildStderr::into_owned_fd);
    let streams = (
        receiver(out).map_err(broken)?,
        receiver(err).map_err(broken)?,
    );
    let kill = CancellationToken::new();
    let (tell, ended) = watch::channel(None);
    let tracker = inside.commands.clone();
    let supervision = supervise(inside, child, kill.clone(), tell);
    tracker.spawn(async move {
        supervision.await;
        // Nobody needs it any more: what still runs has read it.
        drop(fs_err::tokio::remove_dir_all(placed).await);
    });
    Ok(Running::new(streams, ended, kill))
}

async fn supervise(
    inside: Inside,
    mut child: Child,
    kill: CancellationToken,
    tell: watch::Sender<Option<Ended>>,
) {
    let group = Group::of(&child);
    let status = tokio::select! {
        status = child.wait() => status,
        () = async { tokio::select! {
            () = kill.cancelled() => {}
            () = inside.down.cancelled() => {}
        } } => {
            group.kill();
            child.wait().await
        }
    };
    tell.send_replace(Some(match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or(0)),
        },
        Err(_) => Ended::Lost,
    }));
    group.release();
    // The machine may be gone already.
    let _ = inside.command_ended.send(());
}

fn receiver(stream: Option<std::io::Result<OwnedFd>>) -> std::io::Result<pipe::Receiver> {
    let stream = stream.unwrap_or_else(|| Err(std::io::ErrorKind::BrokenPipe.into()))?;
    pipe::Receiver::from_owned_fd(stream)
}
