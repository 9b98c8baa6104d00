//! One command of a session: a process group in the scratch folder, its three
//! streams carried over the channel, its end told as status or signal.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use russh::server::Msg;
use russh::{Channel, ChannelMsg, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWriteExt, copy};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::scratch::Scratch;

/// Serves a channel to its end. `down` is cancelled when the stub goes down.
pub(super) async fn serve(
    mut channel: Channel<Msg>,
    scratch: Scratch,
    handle: russh::server::Handle,
    down: CancellationToken,
) {
    let mut env = Vec::new();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::SetEnv {
                variable_name,
                variable_value,
                ..
            } => env.push((variable_name, variable_value)),
            ChannelMsg::Exec { command, .. } => {
                let command = String::from_utf8_lossy(&command).into_owned();
                run(channel, &scratch, &handle, &env, &command, &down).await;
                return;
            }
            _ => {}
        }
    }
}

async fn run(
    channel: Channel<Msg>,
    scratch: &Scratch,
    handle: &russh::server::Handle,
    env: &[(String, String)],
    command: &str,
    down: &CancellationToken,
) {
    let id = channel.id();
    let (mut reader, writer) = channel.split();
    let child = shell(scratch, env, command).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let said = format!("forno stub: cannot run sh: {error}\n");
            drop(writer.extended_data_bytes(1, said).await);
            drop(writer.exit_status(127).await);
            drop(writer.eof().await);
            drop(writer.close().await);
            return;
        }
    };
    let group = Group::of(&child);
    let mut stdin = child.stdin.take();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let carry = async {
        tokio::join!(
            pump(out, writer.make_writer()),
            pump(err, writer.make_writer_ext(Some(1)))
        );
    };
    let listen = async {
        while let Some(message) = reader.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    let taken = match &mut stdin {
                        Some(pipe) => pipe.write_all(&data).await.is_ok(),
                        None => true,
                    };
                    // A command that closed its input does not care.
                    if !taken {
                        stdin = None;
                    }
                }
                ChannelMsg::Eof => stdin = None,
                ChannelMsg::Signal { signal } => group.signal(&signal),
                ChannelMsg::Close => return,
                _ => {}
            }
        }
    };
    let finished = tokio::select! {
        // The end of the command, and only then of what it wrote: what it left
        // in the background must not hold the channel open.
        status = finish(&mut child, carry) => status,
        () = listen => {
            group.kill();
            drop(child.wait().await);
            return;
        }
        () = down.cancelled() => {
            group.kill();
            drop(child.wait().await);
            return;
        }
    };
    // First the data, then the status, then the end, as OpenSSH does it.
    drop(writer.eof().await);
    match finished {
        Ok(status) => tell(handle, &writer, id, status).await,
        Err(_) => drop(writer.exit_status(255).await),
    }
    drop(writer.close().await);
}

async fn finish(child: &mut Child, carry: impl Future<Output = ()>) -> std::io::Result<ExitStatus> {
    tokio::pin!(carry);
    let status = tokio::select! {
        () = &mut carry => return child.wait().await,
        status = child.wait() => status,
    };
    // What stands in the pipes is there at once; more can only come from what
    // runs on in the background.
    drop(tokio::time::timeout(std::time::Duration::from_millis(500), carry).await);
    status
}

/// What a command of root's does before it begins: from then on it sees this
/// computer read-only, but for the stub's own folder and a `/tmp` of the stub's.
/// Scripts for machines (the seal of a bake above all) delete keys, logs and
/// temporary files with good reason, and must not find those of the host.
const CONFINE: &str = r#"
own=$(dirname "$FORNO_STUB_ORDER")
mkdir -p "$own/tmp" && chmod 1777 "$own/tmp" &&
mount --bind "$own" /mnt &&
mount --bind "$own/tmp" /tmp &&
mkdir -p "$own" &&
mount --move /mnt "$own" &&
mount -o remount,bind,ro / || {
    echo "forno stub: this computer cannot be kept from the command, which is not run" >&2
    exit 126
}
cd "$HOME" && exec sh -c "$1"
"#;

pub(super) fn shell(scratch: &Scratch, env: &[(String, String)], command: &str) -> Command {
    let mut shell = if rustix::process::geteuid().is_root() {
        let mut confined = Command::new("unshare");
        confined.args(["--mount", "--propagation", "private"]);
        confined.args(["sh", "-c", CONFINE, "sh", command]);
        confined
    } else {
        let mut plain = Command::new("sh");
        plain.args(["-c", command]);
        plain
    };
    shell
        .current_dir(&scratch.home)
        .env_clear()
        .env("HOME", &scratch.home)
        .env("USER", "admin")
        .env("LOGNAME", "admin")
        .env("SHELL", "/bin/sh")
        .env("LANG", "C.UTF-8")
        .env(
            "PATH",
            format!(
                "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                scratch.bin.display()
            ),
        )
        .env("FORNO_STUB", "1")
        .env("FORNO_STUB_BOOT_ID", &scratch.boot_id)
        .env("FORNO_STUB_MEMORY", &scratch.memory)
        .envs(env.iter().map(|(k, v)| (k, v)))
        .envs([scratch.mark()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    shell
}

async fn pump(from: Option<impl AsyncRead + Unpin>, mut to: impl tokio::io::AsyncWrite + Unpin) {
    if let Some(mut from) = from {
        // A client that went away is noticed where its messages are read.
        drop(copy(&mut from, &mut to).await);
        drop(to.flush().await);
    }
}

async fn tell(
    handle: &russh::server::Handle,
    writer: &russh::ChannelWriteHalf<Msg>,
    id: russh::ChannelId,
    status: ExitStatus,
) {
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            let code = u32::try_from(code).unwrap_or(255);
            drop(writer.exit_status(code).await);
        }
        (None, signal) => {
            let name = signal_name(signal.unwrap_or(9));
            let _ = handle
                .exit_signal_request(id, name, false, String::new(), String::new())
                .await;
        }
    }
}

/// The process group of a command.
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn signal(&self, signal: &Sig) {
        let signal = match signal {
            Sig::HUP => Signal::HUP,
            Sig::INT => Signal::INT,
            Sig::QUIT => Signal::QUIT,
            Sig::KILL => Signal::KILL,
            Sig::USR1 => Signal::USR1,
            _ => Signal::TERM,
        };
        self.send(signal);
    }

    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    /// Lets it live on, as far as it does.
    pub(super) fn release(mut self) {
        self.0 = None;
    }

    fn send(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    /// Nothing of it outlives its channel but what went into a session of its
    /// own, as on a machine.
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal_name(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("SIG{other}")),
    }
}
