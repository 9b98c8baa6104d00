//! Forgets, looks whether it is forgotten, looks for secrets, and writes the disk.

use bytes::Bytes;
use forno_events::Stream;
use forno_link::{Command, Link, Stdin, capture};
use globset::GlobBuilder;
use secrecy::ExposeSecret;

use super::{Finding, SealItem, SealOptions, SealReport};
use crate::{StepContext, StepError, StepErrorKind};

const FORGET: &str = include_str!("forget.sh");
const SCAN: &str = include_str!("scan.sh");

/// Shorter parts of a secret are found in innocent files.
const SHORTEST_LINE: usize = 8;

pub(crate) async fn seal(
    link: &dyn Link,
    options: &SealOptions,
    ctx: &StepContext,
) -> Result<SealReport, StepError> {
    let report = forget(link, options, ctx).await?;
    let findings = scan(link, options, ctx).await?;
    if !findings.is_empty() {
        return Err(StepError::new(StepErrorKind::Secrets(findings))
            .hint("let the step that wrote it remove it, or hand it to the machine at boot"));
    }
    run(link, Command::shell("sync").sudo(true), "sync", ctx).await?;
    Ok(report)
}

async fn forget(
    link: &dyn Link,
    options: &SealOptions,
    ctx: &StepContext,
) -> Result<SealReport, StepError> {
    let keep: Vec<&str> = options.keep.iter().map(|item| item.as_str()).collect();
    let args = std::iter::once(keep.join(" ")).chain(options.key_blobs.iter().cloned());
    let said = run(
        link,
        Command::script(FORGET, args).sudo(true),
        "forget",
        ctx,
    )
    .await?;
    let mut report = SealReport::default();
    let mut left = Vec::new();
    for line in said.lines() {
        ctx.line(Stream::Stdout, line);
        match line.split_once(' ') {
            Some(("forgotten", name)) => {
                report.forgotten.extend(
                    SealItem::ALL
                        .into_iter()
                        .filter(|item| item.as_str() == name),
                );
            }
            Some(("warning", text)) => report.warnings.push(text.to_owned()),
            Some(("left", what)) => left.push(what.to_owned()),
            _ => {}
        }
    }
    if !left.is_empty() {
        return Err(StepError::guest(format!(
            "could not be removed: {}",
            left.join(", ")
        )));
    }
    let missing: Vec<&str> = SealItem::ALL
        .into_iter()
        .filter(|item| !options.keep.contains(item) && !report.forgotten.contains(item))
        .map(SealItem::as_str)
        .collect();
    if missing.is_empty() {
        Ok(report)
    } else {
        Err(StepError::guest(format!(
            "not forgotten: {}",
            missing.join(", ")
        )))
    }
}

async fn scan(
    link: &dyn Link,
    options: &SealOptions,
    ctx: &StepContext,
) -> Result<Vec<Finding>, StepError> {
    // By standard input: an argument would stand in the process list.
    let command = Command::shell(SCAN)
        .sudo(true)
        .stdin(Stdin::Bytes(Bytes::from(patterns(options))));
    let said = run(link, command, "search for secrets", ctx).await?;
    let mut findings: Vec<Finding> = Vec::new();
    for line in said.lines() {
        let (kind, path) = match line.split_once(' ') {
            Some(("secret", path)) => ("a secret of this bake", path),
            Some(("private-key", path)) => ("a private key", path),
            _ => continue,
        };
        if allowed(options, path) {
            continue;
        }
        findings.push(Finding {
            path: path.to_owned(),
            kind: kind.to_owned(),
        });
    }
    findings.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.kind.cmp(&b.kind)));
    findings.dedup();
    Ok(findings)
}

/// What to look for, a line each: secrets of one line whole, of several by
/// their longer lines.
fn patterns(options: &SealOptions) -> String {
    let mut patterns = String::new();
    for secret in &options.secrets {
        let secret = secret.expose_secret().trim();
        let single = !secret.contains('\n');
        for line in secret.lines().map(str::trim) {
            let header = line.starts_with("-----");
            if !line.is_empty() && (single || (line.len() >= SHORTEST_LINE && !header)) {
                patterns.push_str(line);
                patterns.push('\n');
            }
        }
    }
    patterns
}

fn allowed(options: &SealOptions, path: &str) -> bool {
    options.allowed.iter().any(|allowed| {
        GlobBuilder::new(&allowed.path)
            .literal_separator(false)
            .build()
            .is_ok_and(|glob| glob.compile_matcher().is_match(path))
    })
}

async fn run(
    link: &dyn Link,
    command: Command,
    what: &str,
    ctx: &StepContext,
) -> Result<String, StepError> {
    let output = capture(link, command, &ctx.cancel).await?;
    if output.exit.success() {
        Ok(output.stdout)
    } else {
        Err(StepError::guest(format!("{what}: {}", output.reason())))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::super::Allowed;
    use super::*;

    #[test]
    fn a_secret_of_many_lines_is_looked_for_by_its_lines() {
        let options = SealOptions {
            secrets: vec![
                SecretString::from("short"),
                SecretString::from("-----BEGIN KEY-----\nabcdefghijk\nxyz\n-----END KEY-----\n"),
            ],
            ..SealOptions::default()
        };
        assert_eq!(patterns(&options), "short\nabcdefghijk\n");
    }

    #[test]
    fn an_allowed_place_is_no_find() {
        let options = SealOptions {
            allowed: vec![Allowed {
                path: "/etc/ssl/private/*".into(),
                reason: "made for tests".into(),
            }],
            ..SealOptions::default()
        };
        assert!(allowed(&options, "/etc/ssl/private/ssl-cert-snakeoil.key"));
        assert!(!allowed(&options, "/etc/ssh/ssh_host_rsa_key"));
    }

    #[test]
    fn the_scripts_name_every_item() {
        for item in SealItem::ALL {
            assert!(FORGET.contains(item.as_str()), "{}", item.as_str());
            assert!(FORGET.contains(&format!("{}()", item.as_str().replace('-', "_"))));
        }
    }
}
