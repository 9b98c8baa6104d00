//! Scripts on the machine.
//!
//! A script is sent as a small archive (itself, a file that sets the environment
//! and calls it, and what a run needs around it) on the standard input of one
//! command. So nothing secret is ever an argument. That command starts it as a
//! [`Run`] of its own and carries its output, so a step costs one round trip;
//! should the connection break, another one carries on.

mod follow;
mod luggage;
mod marks;
mod run;
mod told;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use forno_link::{Command, Exit, Link, Stdin, quote};
use secrecy::{ExposeSecret, SecretString};

use crate::error::StepErrorKind;
use crate::step::{Script, Shell};
use crate::{RunState, StepContext, StepError};
use follow::Follow;
pub(crate) use follow::{Held, Loose};
pub(crate) use luggage::Luggage;
pub(crate) use run::{new_id, sweep};

/// Runs a script that no run of its own is made for.
const RUNNER: &str = include_str!("shell/runner.sh");

/// Holds the environment and the call.
const START: &str = "start";

/// Holds the script, under its own name.
const FOLDER: &str = "script";

/// Without an interpreter and a `#!` line.
const DEFAULT: [&str; 2] = ["/bin/sh", "-e"];

/// Which attempt at a step it is.
pub(crate) struct Attempt<'a> {
    pub(crate) number: u32,
    /// The run that another process began.
    pub(crate) resume: Option<&'a RunState>,
    /// When its time is over.
    pub(crate) until: Instant,
    pub(crate) loose: &'a Arc<Loose>,
}

/// The run's folder stays until what is held has been told to go.
pub(crate) async fn run(
    link: &Arc<dyn Link>,
    shell: &Shell,
    luggage: &Luggage,
    ctx: &StepContext,
    attempt: &Attempt<'_>,
) -> (Result<(), StepError>, Option<Held>) {
    // One of which nothing was heard may not have begun, and then it begins now.
    let unheard = |state: &RunState| state.stdout == 0 && state.stderr == 0;
    let archive = if attempt.resume.is_none_or(unheard) {
        let prepared = Prepared::new(shell, ctx).await;
        let prepared = prepared.and_then(|prepared| prepared.with(luggage));
        match prepared.and_then(Prepared::detached) {
            Ok(archive) => Some(archive),
            Err(error) => return (Err(error), None),
        }
    } else {
        None
    };
    let mut follow = Follow::new(link, ctx, shell.sudo, attempt);
    let attach = attempt.resume.is_some();
    let ended = follow.see_through(archive.as_ref(), attach).await;
    let tail = follow.tap.finish();
    match ended {
        Ok((exit, held)) => {
            let judged = judge(&shell.script, &shell.valid_exit_codes, exit, tail)
                .map_err(|error| error.explain(&**link));
            (judged, held)
        }
        Err(error) => (Err(error.tail(tail)), None),
    }
}

pub(crate) fn judge(
    script: &Script,
    valid_exit_codes: &[u32],
    exit: Exit,
    tail: Vec<String>,
) -> Result<(), StepError> {
    if matches!(exit, Exit::Code(code) if valid_exit_codes.contains(&code)) {
        return Ok(());
    }
    let hint = match exit {
        Exit::Code(code @ 129..=165) => Some(format!(
            "a status of {code} usually means that signal {} ended it (137: killed, often for want of memory)",
            code - 128
        )),
        _ => None,
    };
    Err(StepError {
        kind: StepErrorKind::Exit {
            what: script_name(script),
            exit,
        },
        tail,
        hint,
    })
}

pub(crate) fn script_name(script: &Script) -> String {
    let name = match script {
        Script::Inline(_) => None,
        Script::File(path) => path.file_name().map(|n| n.to_string_lossy().into_owned()),
    };
    name.unwrap_or_else(|| "script".into())
}

impl StepError {
    /// Adds a hint for what the last lines show.
    fn explain(mut self, link: &dyn Link) -> Self {
        let says = |text: &str| self.tail.iter().any(|line| line.contains(text));
        if says("sudo: a password is required") || says("sudo: a terminal is required") {
            let user = link.user();
            self.hint = Some(format!(
                "`{user}` may not use sudo without a password on this image"
            ));
        } else if says("sudo: not found") || says("sudo: command not found") {
            self.hint =
                Some("sudo is not installed on this image: log in as root or install it".into());
        }
        self
    }
}

/// A script ready to be sent.
pub(crate) struct Prepared {
    sudo: bool,
    public: bool,
    /// The runner's folder as an archive that is not finished.
    archive: tar::Builder<Vec<u8>>,
}

impl Prepared {
    pub(crate) async fn new(shell: &Shell, ctx: &StepContext) -> Result<Self, StepError> {
        let name = script_name(&shell.script);
        let text = match &shell.script {
            Script::Inline(text) => text.expose_secret().as_bytes().to_vec(),
            Script::File(path) => fs_err::tokio::read(path).await.map_err(unsent)?,
        };
        let text = without_carriage_returns(text);
        let interpreter = match &shell.interpreter {
            Some(words) if !words.is_empty() => words.clone(),
            _ => hash_bang(&text).unwrap_or_else(|| DEFAULT.map(str::to_owned).to_vec()),
        };
        let start = start(&interpreter, &name, shell, ctx)?;
        let mut archive = tar::Builder::new(Vec::new());
        run::add(&mut archive, START, 0o600, start.as_bytes())
            .and_then(|()| run::add(&mut archive, &format!("{FOLDER}/{name}"), 0o700, &text))
            .map_err(unsent)?;
        Ok(Self {
            sudo: shell.sudo,
            public: ctx.public,
            archive,
        })
    }

    fn with(mut self, luggage: &Luggage) -> Result<Self, StepError> {
        luggage.load(&mut self.archive).map_err(unsent)?;
        Ok(self)
    }

    /// For a run of its own.
    fn detached(mut self) -> Result<Bytes, StepError> {
        run::furnish(&mut self.archive)
            .and_then(|()| self.archive.into_inner())
            .map(Bytes::from)
            .map_err(unsent)
    }

    /// For a short look, which ends with its connection.
    pub(crate) fn attached(self) -> Result<Command, StepError> {
        let archive = self.archive.into_inner().map_err(unsent)?;
        let stdin = Stdin::Bytes(archive.into());
        Ok(Command::shell(RUNNER)
            .sudo(self.sudo)
            .stdin(stdin)
            .public_stdin(self.public))
    }
}

fn unsent(error: std::io::Error) -> StepError {
    StepError::local("cannot send the script", error)
}

/// What the runner reads: the environment, then the call. Its `$dir` is the
/// runner's folder.
fn start(
    interpreter: &[String],
    name: &str,
    shell: &Shell,
    ctx: &StepContext,
) -> Result<String, StepError> {
    let mut env = ctx.env.clone();
    env.entry("DEBIAN_FRONTEND".into())
        .or_insert_with(|| SecretString::from("noninteractive"));
    env.extend(
        shell
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let mut text = String::new();
    for (name, value) in &env {
        if !quote::is_name(name) {
            return Err(StepError::new(StepErrorKind::Invalid(format!(
                "`{name}` cannot be the name of an environment variable"
            ))));
        }
        text.push_str(&format!(
            "export {name}={}\n",
            quote::word(value.expose_secret())
        ));
    }
    let args = shell.args.iter().map(|arg| arg.expose_secret().to_owned());
    text.push_str(&format!(
        "{} \"$dir/{FOLDER}/\"{} {} </dev/null\n",
        quote::line(interpreter),
        quote::word(name),
        quote::line(args),
    ));
    Ok(text)
}

/// The interpreter that the kernel would take: one word and at most one argument.
fn hash_bang(text: &[u8]) -> Option<Vec<String>> {
    let line = text.strip_prefix(b"#!")?;
    let line = line.split(|&b| b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    let mut words = line
        .splitn(2, [' ', '\t'])
        .map(str::trim)
        .map(str::to_owned);
    let program = words.next().filter(|program| !program.is_empty())?;
    Some(
        std::iter::once(program)
            .chain(words.filter(|w| !w.is_empty()))
            .collect(),
    )
}

/// A script that was edited on another system still runs.
fn without_carriage_returns(text: Vec<u8>) -> Vec<u8> {
    let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
    if !first.ends_with(b"\r") || text.contains(&0) {
        return text;
    }
    let mut kept = Vec::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        if byte != b'\r' || text.get(at + 1) != Some(&b'\n') {
            kept.push(byte);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_bang_line_is_read_as_the_kernel_does() {
        let read = |text: &str| hash_bang(text.as_bytes());
        assert_eq!(read("#!/bin/sh\nx"), Some(vec!["/bin/sh".into()]));
        assert_eq!(
            read("#! /usr/bin/env -S bash -e\n"),
            Some(vec!["/usr/bin/env".into(), "-S bash -e".into()])
        );
        assert_eq!(read("#!\n"), None);
        assert_eq!(read("echo"), None);
    }

    #[test]
    fn carriage_returns_go_only_where_they_end_lines() {
        let strip = |text: &str| String::from_utf8(without_carriage_returns(text.into())).unwrap();
        assert_eq!(
            strip("#!/bin/sh\r\necho a\rb\r\n"),
            "#!/bin/sh\necho a\rb\n"
        );
        assert_eq!(strip("a\nb\r\n"), "a\nb\r\n");
    }
}
