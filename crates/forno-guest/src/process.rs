//! A program on this machine that ends with us: when it is cancelled, when its
//! time is over, and also when forno itself is killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::StepError;
use crate::error::StepErrorKind;

/// Its standard input is a pipe from us, which ends when we do, however we end. Then
/// nobody else is left to remove our files: a folder, and one in memory.
const KEEPER: &str = r#"exec 3<&0 </dev/null
folder=$1 file=$2
shift 2
"$@" 3<&- &
child=$!
( trap '' TERM; cat <&3; rm -rf ${folder:+"$folder"} ${file:+"$file"}; kill -TERM -$$; sleep 10; kill -KILL -$$ ) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
trap : TERM
while :; do
  wait $child; code=$?
  kill -0 $child 2>/dev/null || { kill -KILL $watcher 2>/dev/null; exit $code; }
done"#;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<String, OsString>,
    /// What it does not get of our own environment: variables that begin so.
    pub(crate) forgets: &'a [&'a str],
    pub(crate) dir: PathBuf,
    /// What goes with us: a folder, and a file.
    pub(crate) leaves: [Option<&'a Path>; 2],
}

/// Fails when a program is missing, with the Debian package that brings it.
pub(crate) async fn require(program: &Path, package: &str) -> Result<(), StepError> {
    let status = Command::new("/bin/sh")
        .args(["-c", "command -v \"$1\"", "sh"])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(|error| StepError::local("cannot run /bin/sh", error))?;
    if status.success() {
        return Ok(());
    }
    Err(StepError::new(StepErrorKind::MissingProgram {
        program: program.display().to_string(),
        package: package.to_owned(),
    })
    .hint(format!(
        "install the Debian package `{package}`: apt-get install {package}"
    )))
}

/// Runs it to its end, giving away each line of output.
pub(crate) async fn run(
    program: Program<'_>,
    mut stdout: impl FnMut(&str),
    mut stderr: impl FnMut(&str),
    cancel: &CancellationToken,
) -> Result<ExitStatus, StepError> {
    let failed = |error| StepError::local(format!("cannot run {}", program.path.display()), error);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", KEEPER, "sh"])
        .args(program.leaves.map(|left| left.unwrap_or(Path::new(""))))
        .arg(program.path)
        .args(&program.args)
        .current_dir(&program.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if program.forgets.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command.envs(&program.env);
    let mut child = command.spawn().map_err(failed)?;
    let _alive = child.stdin.take();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);

    let reading = async {
        tokio::join!(lines(out, &mut stdout), lines(err, &mut stderr));
    };
    let waiting = async {
        let ((), status) = tokio::join!(reading, child.wait());
        status
    };
    tokio::pin!(waiting);
    tokio::select! {
        status = &mut waiting => return status.map_err(failed),
        () = cancel.cancelled() => {}
    }
    // Workers of newer versions have sessions of their own, so a signal to the
    // group alone would miss them.
    let family = group.map(descendants).unwrap_or_default();
    signal(group, &family, Signal::TERM);
    if tokio::time::timeout(GRACE, &mut waiting).await.is_err() {
        signal(group, &family, Signal::KILL);
        let _ = tokio::time::timeout(GRACE, &mut waiting).await;
    }
    Err(StepError::new(StepErrorKind::Cancelled))
}

fn signal(group: Option<Pid>, family: &[Pid], signal: Signal) {
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
    for pid in family {
        let _ = kill_process(*pid, signal);
    }
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, tell: &mut impl FnMut(&str)) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stream.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tell(text.trim_end_matches(['\n', '\r']));
            }
        }
    }
}

fn descendants(of: Pid) -> Vec<Pid> {
    let mut parents = Vec::new();
    for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs_err::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok());
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        if let (Some(pid), Some(parent)) = (pid, parent) {
            parents.push((pid, parent));
        }
    }
    let mut family = vec![of.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&one) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == one)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    family
        .into_iter()
        .skip(1)
        .filter_map(Pid::from_raw)
        .collect()
}
