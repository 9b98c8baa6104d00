//! Scripts inside a container: the guardian enters the guest's namespaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::guardian::{Exit, Guardian, Process};
use crate::inside::{Ended, Running, Script};
use crate::net::text;
use crate::{Error, ErrorKind};

/// In the guest's memory; nothing of it is ever on its disk.
const FOLDER: &str = "/run/forno-agent";
/// SIGKILL.
const KILLED: i32 = 9;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where an agent runs that systemd started from its package.
const WORKING_FOLDER: &str = "/usr/bin";

/// `$1` is the script's file, its text is what is read.
const PLACE: &str = r#"umask 077 && mkdir -p "${1%/*}" && cat > "$1" && chmod 700 "$1""#;
/// Nobody needs it any more: what still runs has read it.
const REMOVE: &str = r#"rm -rf -- "${1%/*}""#;
/// `$1` is the script's file, `$2` where to run it. This shell waits for it from
/// outside of the guest's processes, whose end it must not get in the way of.
const RUN: &str = r#"cd "$2" 2> /dev/null || {
    echo "chdir $2: no such file or directory" >&2
    exit 1
}
setsid -- sh -c "$1"
exit $?"#;

/// Starts a script in the guest whose first process is the child of `guest`.
pub(crate) async fn run(
    guardian: Arc<Guardian>,
    guest: u32,
    dir: &Path,
    script: Script,
) -> Result<Running, Error> {
    let leader = guardian.leader(guest).await?.ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            "the machine is not up: it has no first process",
        )
    })?;
    let file = format!("{FOLDER}/{}/_script.sh", script.name);
    let place = enter(leader, &[], &["sh", "-c", PLACE, "sh", &file]);
    let place = place.iter().map(String::as_str).collect::<Vec<_>>();
    guardian.run(&place, &script.text).await?;
    let (out, out_path) = passage(dir, &script.name, "out")?;
    let (err, err_path) = passage(dir, &script.name, "err")?;
    let folder = script.folder.as_deref().unwrap_or(WORKING_FOLDER);
    let program = ["sh", "-c", RUN, "sh", &file, folder];
    let argv = enter(leader, &script.env, &program);
    let started = guardian.spawn_apart(argv, &out_path, &err_path).await;
    for path in [&out_path, &err_path] {
        drop(fs_err::remove_file(path));
    }
    let process = started?;
    let kill = CancellationToken::new();
    let (tell, ended) = watch::channel(None);
    let supervision = supervise(Arc::clone(&guardian), process, kill.clone(), tell);
    tokio::spawn(async move {
        supervision.await;
        let remove = enter(leader, &[], &["sh", "-c", REMOVE, "sh", &file]);
        let remove = remove.iter().map(String::as_str).collect::<Vec<_>>();
        // With the machine the file is gone too.
        drop(guardian.run(&remove, "").await);
    });
    Ok(Running::new((out, err), ended, kill))
}

async fn supervise(
    guardian: Arc<Guardian>,
    mut process: Process,
    kill: CancellationToken,
    tell: watch::Sender<Option<Ended>>,
) {
    let exit = tokio::select! {
        exit = process.exited() => exit,
        () = kill.cancelled() => match guardian.kill_all(process.pid).await {
            // Of the two that are killed the shell may be the one to tell.
            Ok(()) => process.exited().await.map(|_| Exit::Signal(KILLED)),
            Err(_) => None,
        },
    };
    tell.send_replace(Some(match exit {
        Some(Exit::Code(code)) => Ended::Code(code),
        Some(Exit::Signal(signal)) => Ended::Signal(signal),
        None => Ended::Lost,
    }));
}

/// A command that runs a program where the process `leader` lives, with nothing
/// of this computer's environment. What the program starts is a process of the
/// guest; it itself is not, because an `nsenter` that forks is stopped for ever when
/// a shutdown stops its child, and then holds the shutdown up.
fn enter(leader: u32, env: &[(String, String)], program: &[&str]) -> Vec<String> {
    let mut argv = vec!["env".to_owned(), "-i".to_owned(), PATH.to_owned()];
    argv.push("LANG=C.UTF-8".to_owned());
    argv.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
    argv.extend(
        [
            "nsenter",
            "--no-fork",
            &format!("--target={leader}"),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
            "--",
        ]
        .map(str::to_owned),
    );
    argv.extend(program.iter().map(|&word| word.to_owned()));
    argv
}

/// A named pipe that we read, and whose path the guardian can write to.
fn passage(dir: &Path, name: &str, stream: &str) -> Result<(pipe::Receiver, PathBuf), Error> {
    let path = dir.join(format!("{name}.{stream}"));
    text(&path)?;
    drop(fs_err::remove_file(&path));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .map_err(|e| Error::file("create", &path, e.into()))?;
    let receiver = pipe::OpenOptions::new()
        .open_receiver(&path)
        .map_err(|e| Error::file("open", &path, e))?;
    Ok((receiver, path))
}
