//! A script on this machine, the one that bakes.
//!
//! It has the environment of forno itself, because that is where its tools and their
//! credentials are, and besides what every step gets. Neither script nor variables
//! stand in an argument; an inline script lies in a private file in memory meanwhile.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use forno_events::Stream;
use forno_link::Exit;
use secrecy::ExposeSecret as _;
use tempfile::NamedTempFile;

use crate::output::Tap;
use crate::process::{self, Program};
use crate::shell::{judge, script_name};
use crate::step::{Local, Script};
use crate::{StepContext, StepError};

/// Held in memory, where it is there: what was never on a disk stays on none.
const MEMORY: &str = "/dev/shm";

/// What runs a script that does not say.
const SHELL: [&str; 2] = ["/bin/sh", "-e"];

pub(crate) async fn run(local: &Local, ctx: &StepContext) -> Result<(), StepError> {
    let failed =
        |error| StepError::local(format!("cannot run {}", script_name(&local.script)), error);
    let (file, held) = place(&local.script).map_err(failed)?;
    let mut words: Vec<OsString> = match &local.interpreter {
        Some(words) => words.iter().map(OsString::from).collect(),
        None => own_interpreter(&file).map_err(failed)?,
    };
    words.push(file.into());
    words.extend(local.args.iter().map(|arg| arg.expose_secret().into()));
    let mut env = BTreeMap::new();
    for (name, value) in ctx.env.iter().chain(&local.env) {
        env.insert(name.clone(), OsString::from(value.expose_secret()));
    }
    let tap = Tap::new(ctx);
    let program = Program {
        path: Path::new(&words[0]),
        args: words[1..].to_vec(),
        env,
        forgets: &[],
        dir: local.folder.clone(),
        leaves: [None, held.as_ref().map(NamedTempFile::path)],
    };
    let push = |stream, line: &str| tap.push(stream, format!("{line}\n").as_bytes());
    let status = process::run(
        program,
        |line| push(Stream::Stdout, line),
        |line| push(Stream::Stderr, line),
        &ctx.cancel,
    )
    .await;
    let tail = tap.finish();
    let status = match status {
        Ok(status) => status,
        Err(error) => return Err(error.tail(tail)),
    };
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u32::try_from(code).unwrap_or(u32::MAX)),
        (None, signal) => Exit::Signal(signal.unwrap_or_default().to_string()),
    };
    judge(&local.script, &local.valid_exit_codes, exit, tail)
}

/// The script's own file, or one for what the recipe says.
fn place(script: &Script) -> io::Result<(PathBuf, Option<NamedTempFile>)> {
    let text = match script {
        Script::File(path) => return Ok((path.clone(), None)),
        Script::Inline(text) => text,
    };
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("forno-")
        .permissions(std::fs::Permissions::from_mode(0o600));
    let mut file = builder
        .tempfile_in(MEMORY)
        .or_else(|_| builder.tempfile())?;
    file.write_all(text.expose_secret().as_bytes())?;
    Ok((file.path().to_owned(), Some(file)))
}

/// Read here, so that neither the file nor where it lies need be executable.
fn own_interpreter(file: &Path) -> io::Result<Vec<OsString>> {
    let mut start = Vec::new();
    fs_err::File::open(file)?
        .take(256)
        .read_to_end(&mut start)?;
    let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
    let words = line
        .strip_prefix(b"#!")
        .map(|line| String::from_utf8_lossy(line).trim().to_owned())
        .filter(|line| !line.is_empty());
    Ok(match words {
        None => SHELL.iter().map(OsString::from).collect(),
        // The kernel too takes everything after the program for one argument.
        Some(words) => match words.split_once([' ', '\t']) {
            Some((program, argument)) => vec![program.into(), argument.trim().into()],
            None => vec![words.into()],
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forno_events::{Emitter, StepId};
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn context() -> StepContext {
        StepContext::new(StepId::new("s"), Emitter::none(), CancellationToken::new())
    }

    fn local(text: &str) -> Local {
        Local {
            script: Script::Inline(text.into()),
            args: Vec::new(),
            interpreter: None,
            valid_exit_codes: vec![0],
            env: BTreeMap::new(),
            folder: "/".into(),
        }
    }

    #[tokio::test]
    async fn it_runs_here_with_its_variables_and_its_own_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let mut ctx = context();
        ctx.env.insert("FORNO_IMAGE".into(), "base".into());
        let mut one = local(
            "#!/usr/bin/env python3\nimport os, sys\nopen('made', 'w').write(os.environ['FORNO_IMAGE'] + os.environ['OWN'] + sys.argv[1])\n",
        );
        one.folder = dir.path().to_owned();
        one.env.insert("OWN".into(), " own ".into());
        one.args = vec!["arg".into()];
        run(&one, &ctx).await.unwrap();
        let made = fs_err::read_to_string(dir.path().join("made")).unwrap();
        assert_eq!(made, "base own arg");
    }

    #[tokio::test]
    async fn what_fails_says_how_and_what_it_said_last() {
        let ctx = context();
        let error = run(&local("echo so far; false; echo never"), &ctx).await;
        let error = error.unwrap_err();
        assert_eq!(error.tail, ["so far"]);
        assert!(
            matches!(
                error.kind,
                crate::StepErrorKind::Exit {
                    exit: Exit::Code(1),
                    ..
                }
            ),
            "{error}"
        );
        let mut tolerant = local("exit 3");
        tolerant.valid_exit_codes = vec![0, 3];
        run(&tolerant, &ctx).await.unwrap();
        let mut nowhere = local("true");
        nowhere.interpreter = Some(vec!["/no/such/program".into()]);
        run(&nowhere, &ctx).await.unwrap_err();
    }

    #[tokio::test]
    async fn cancelled_it_ends_with_all_that_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context();
        let mut one = local("sleep 600 & echo $! >child; wait");
        one.folder = dir.path().to_owned();
        let child = dir.path().join("child");
        let cancel = ctx.cancel.clone();
        let begun = child.clone();
        tokio::spawn(async move {
            while fs_err::read_to_string(&begun)
                .unwrap_or_default()
                .trim()
                .is_empty()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cancel.cancel();
        });
        let error = run(&one, &ctx).await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        let pid = fs_err::read_to_string(child).unwrap();
        let running = Path::new("/proc").join(pid.trim());
        for _ in 0..600 {
            if !running.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it still runs");
    }
}
