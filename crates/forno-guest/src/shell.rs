//! Scripts on the machine.
//!
//! One command does it all: it unpacks a small archive from its standard input
//! (the script, and a file that sets the environment and starts it), runs it,
//! and removes it. So nothing secret is ever an argument, and a step costs one
//! round trip.

use bytes::Bytes;
use forno_link::{Command, Exit, Link, Stdin, quote};
use secrecy::{ExposeSecret, SecretString};

use crate::error::StepErrorKind;
use crate::output::Tap;
use crate::step::{Script, Shell};
use crate::{StepContext, StepError};

/// Held in memory where possible: what is never on the disk is never in the image.
const RUNNER: &str = include_str!("shell/runner.sh");

const START: &str = "start";

/// Without an interpreter and a `#!` line.
const DEFAULT: [&str; 2] = ["/bin/sh", "-e"];

pub(crate) async fn run(
    link: &dyn Link,
    shell: &Shell,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let script = Prepared::new(shell, ctx).await?;
    let tap = Tap::new(ctx);
    let exit = link
        .exec(script.command(), Box::new(tap.clone()), &ctx.cancel)
        .await
        .map_err(|error| StepError::from(error).tail(tap.finish()))?;
    let tail = tap.finish();
    if matches!(exit, Exit::Code(code) if shell.valid_exit_codes.contains(&code)) {
        return Ok(());
    }
    let hint = match exit {
        Exit::Code(code @ 129..=165) => Some(format!(
            "a status of {code} usually means that signal {} ended it (137: killed, often for want of memory)",
            code - 128
        )),
        _ => None,
    };
    let what = script.name;
    Err(StepError {
        kind: StepErrorKind::Exit { what, exit },
        tail,
        hint,
    }
    .explain(link))
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
    pub(crate) name: String,
    sudo: bool,
    archive: Bytes,
}

impl Prepared {
    pub(crate) async fn new(shell: &Shell, ctx: &StepContext) -> Result<Self, StepError> {
        let (name, text) = match &shell.script {
            Script::Inline(text) => (
                "script".to_owned(),
                text.expose_secret().as_bytes().to_vec(),
            ),
            Script::File(path) => {
                let text = fs_err::tokio::read(path)
                    .await
                    .map_err(|error| StepError::local("cannot send the script", error))?;
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
                (name.unwrap_or_else(|| "script".into()), text)
            }
        };
        // A name of its own in the runner's folder.
        let name = if name == START || name.starts_with('.') {
            format!("script-{name}")
        } else {
            name
        };
        let text = without_carriage_returns(text);
        let interpreter = match &shell.interpreter {
            Some(words) if !words.is_empty() => words.clone(),
            _ => hash_bang(&text).unwrap_or_else(|| DEFAULT.map(str::to_owned).to_vec()),
        };
        let start = start(&interpreter, &name, shell, ctx)?;
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in [(START, start.as_bytes()), (&name, &text)] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o700);
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, name, content)
                .map_err(|error| StepError::local("cannot send the script", error))?;
        }
        let archive = archive
            .into_inner()
            .map_err(|error| StepError::local("cannot send the script", error))?;
        Ok(Self {
            name,
            sudo: shell.sudo,
            archive: archive.into(),
        })
    }

    pub(crate) fn command(&self) -> Command {
        let stdin = Stdin::Bytes(self.archive.clone());
        Command::shell(RUNNER).sudo(self.sudo).stdin(stdin)
    }
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
        "{} \"$dir/\"{} {} </dev/null\n",
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
