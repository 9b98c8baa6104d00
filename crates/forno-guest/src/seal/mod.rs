//! Making an image out of a machine: what is this machine's own is forgotten,
//! so that every machine started from the image gets its own.
//!
//! Three commands: one forgets and looks whether it is forgotten, one looks for
//! secrets on what is left, one writes everything to the disk. The connection
//! they run over stays; a new one can no longer be made.

mod options;

use bytes::Bytes;
use forno_link::{Command, Exit, Link, Stdin, capture};
use secrecy::ExposeSecret;

pub use options::{Allowed, Finding, SealItem, SealOptions, SealReport};

use crate::assertion::matches;
use crate::error::StepErrorKind;
use crate::{StepContext, StepError};

const FORGET: &str = include_str!("forget.sh");
const SCAN: &str = include_str!("scan.sh");

/// A shorter piece of a secret is found everywhere.
const SHORTEST: usize = 8;

pub(crate) async fn run(
    link: &dyn Link,
    options: &SealOptions,
    ctx: &StepContext,
) -> Result<SealReport, StepError> {
    if let Some(home) = crate::stub::home(link, ctx).await? {
        scan(link, options, &home, ctx).await?;
        return Ok(SealReport {
            warnings: vec!["a stub has nothing to forget".into()],
            ..SealReport::default()
        });
    }
    let report = forget(link, options, "", ctx).await?;
    scan(link, options, "", ctx).await?;
    let sync = capture(link, Command::shell("sync").sudo(true), &ctx.cancel).await?;
    if !sync.exit.success() {
        let reason = sync.reason();
        return Err(StepError::guest(format!("cannot write the disk: {reason}")));
    }
    Ok(report)
}

/// `root` is the folder of the machine's root; empty on the machine itself.
async fn forget(
    link: &dyn Link,
    options: &SealOptions,
    root: &str,
    ctx: &StepContext,
) -> Result<SealReport, StepError> {
    let keys = options.key_blobs.join("\n");
    let items = SealItem::ALL
        .iter()
        .filter(|item| !options.keep.contains(item));
    let args = [keys.as_str(), root]
        .into_iter()
        .chain(items.map(|item| item.as_str()));
    let output = capture(link, Command::script(FORGET, args).sudo(true), &ctx.cancel).await?;
    let mut report = SealReport::default();
    let mut failed = Vec::new();
    for line in output.stdout.lines() {
        ctx.line(forno_events::Stream::Stdout, line);
        match line.split_once(' ') {
            Some(("did", item)) => {
                report
                    .forgotten
                    .extend(SealItem::ALL.iter().filter(|i| i.as_str() == item));
            }
            Some(("warn", text)) => report.warnings.push(text.to_owned()),
            Some(("fail", text)) => {
                let (item, why) = text.split_once(' ').unwrap_or((text, ""));
                failed.push(format!("{item}: {}", why.trim()));
            }
            _ => {}
        }
    }
    let tail: Vec<String> = output.stderr.lines().map(str::to_owned).collect();
    let wanted = SealItem::ALL.len()
        - SealItem::ALL
            .iter()
            .filter(|i| options.keep.contains(i))
            .count();
    if failed.is_empty() && output.exit == Exit::Code(0) && report.forgotten.len() == wanted {
        return Ok(report);
    }
    if failed.is_empty() {
        failed.push(output.reason());
    }
    let error = StepError::guest(format!("cannot seal the machine:\n{}", failed.join("\n")));
    Err(if failed.iter().any(|f| f.contains("new SSH host keys")) {
        error.hint("install cloud-init in the image and do not disable it")
    } else {
        error
    }
    .tail(tail))
}

async fn scan(
    link: &dyn Link,
    options: &SealOptions,
    root: &str,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let command = Command::script(SCAN, [root])
        .sudo(true)
        .stdin(Stdin::Bytes(Bytes::from(texts(options))));
    let output = capture(link, command, &ctx.cancel).await?;
    if !output.exit.success() || output.dropped > 0 {
        let reason = output.reason();
        return Err(StepError::guest(format!(
            "cannot look for secrets: {reason}"
        )));
    }
    let findings: Vec<Finding> = output
        .stdout
        .lines()
        .filter_map(|line| {
            let (kind, path) = line.split_once(' ')?;
            let path = path.strip_prefix(root).unwrap_or(path).to_owned();
            let kind = match kind {
                "secret" => "a secret of this bake",
                "private-key" => "a private key",
                _ => return None,
            };
            let allowed = options.allowed.iter().any(|a| matches(&a.path, &path));
            (!allowed).then(|| Finding {
                path,
                kind: kind.to_owned(),
            })
        })
        .collect();
    if findings.is_empty() {
        return Ok(());
    }
    Err(StepError::new(StepErrorKind::Secrets(findings)).hint(
        "remove them in a last step; what a machine needs at run time it should get when it starts",
    ))
}

/// One text a line; of a secret of many lines the longest.
fn texts(options: &SealOptions) -> String {
    let mut texts = String::new();
    for secret in &options.secrets {
        let lines = secret.expose_secret().lines().map(str::trim);
        if let Some(line) = lines.max_by_key(|line| line.len())
            && line.len() >= SHORTEST
        {
            texts.push_str(line);
            texts.push('\n');
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn the_script_knows_every_item() {
        for item in SealItem::ALL {
            let (name, function) = (item.as_str(), item.as_str().replace('-', "_"));
            assert!(FORGET.contains(&format!("{name}) {function} ;;")), "{name}");
            assert!(FORGET.contains(&format!("\n{function}() {{")), "{name}");
        }
    }

    #[test]
    fn a_secret_of_many_lines_is_looked_for_by_its_longest() {
        let options = SealOptions {
            secrets: vec![
                SecretString::from("hunter2-hunter2"),
                SecretString::from("-----BEGIN X-----\nabcdefghijklmnopqrstuvwxyz\nxyz\n"),
                SecretString::from("short"),
            ],
            ..SealOptions::default()
        };
        assert_eq!(
            texts(&options),
            "hunter2-hunter2\nabcdefghijklmnopqrstuvwxyz\n"
        );
    }
}
