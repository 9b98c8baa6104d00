//! A program of this machine: in a process group of its own, which is ended
//! whole when the step is cancelled or out of time.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use forno_events::Stream;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::{StepContext, StepError, StepErrorKind};

/// Between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs it to its end; every line of output is given to `line`.
pub(super) async fn run(
    mut command: Command,
    program: &str,
    timeout: Duration,
    ctx: &StepContext,
    line: &mut (dyn FnMut(Stream, &[u8]) + Send),
) -> Result<Option<i32>, StepError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| missing(program, error))?;
    let group = Group(
        child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)),
    );
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (told, mut lines) = tokio::sync::mpsc::channel(64);
    let readers = [
        tokio::spawn(read(out, Stream::Stdout, told.clone())),
        tokio::spawn(read(err, Stream::Stderr, told)),
    ];
    let listen = async {
        while let Some((stream, text)) = lines.recv().await {
            line(stream, &text);
        }
    };
    let result = tokio::select! {
        () = listen => child.wait().await.map(|status| status.code())
            .map_err(|error| StepError::local(program.to_owned(), error)),
        () = tokio::time::sleep(timeout) => {
            Err(StepError::new(StepErrorKind::TimedOut { what: program.to_owned(), after: timeout }))
        }
        () = ctx.cancel.cancelled() => Err(StepError::new(StepErrorKind::Cancelled)),
    };
    if result.is_err() {
        group.end(&mut child).await;
    }
    for reader in readers {
        reader.abort();
    }
    result
}

async fn read(
    from: Option<impl AsyncRead + Unpin>,
    stream: Stream,
    told: tokio::sync::mpsc::Sender<(Stream, Vec<u8>)>,
) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if told.send((stream, line)).await.is_err() {
            return;
        }
    }
}

fn missing(program: &str, error: io::Error) -> StepError {
    if error.kind() != io::ErrorKind::NotFound {
        return StepError::local(format!("cannot run {program}"), error);
    }
    StepError::new(StepErrorKind::MissingProgram {
        program: program.to_owned(),
        package: "ansible-core".to_owned(),
    })
    .hint("install Debian's package: apt-get install ansible-core")
}

/// All that the program started, also when this future is dropped.
struct Group(Option<Pid>);

impl Group {
    async fn end(&self, child: &mut Child) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = child.wait().await;
        }
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, signal);
        }
    }
}
