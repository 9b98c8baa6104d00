//! One look per kind of thing. Each asks the machine once and compares here.

use forno_link::{Captured, Command, Exit, Link, Output, capture};
use secrecy::ExposeSecret;

use super::{Findings, matches};
use crate::shell::Prepared;
use crate::step::{
    CommandAssertion, FileAssertion, FileKind, PackageAssertion, Script, ServiceAssertion, Shell,
    UserAssertion,
};
use crate::{StepContext, StepError};

/// A file is looked through for a text up to here.
const LARGEST: usize = 16 << 20;

async fn ask(link: &dyn Link, command: Command, ctx: &StepContext) -> Result<Output, StepError> {
    let output = capture(link, command, &ctx.cancel).await?;
    if output.exit.success() {
        return Ok(output);
    }
    let reason = output.reason();
    Err(StepError::guest(format!(
        "the look at the machine failed: {reason}"
    )))
}

/// The lines of an answer, each `name value`.
fn value<'a>(output: &'a Output, name: &str) -> Option<&'a str> {
    output
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

const FILE: &str = r#"export LC_ALL=C
if [ -L "$1" ]; then stat -c 'link=%a %u %g %U %G' -- "$1"; fi
if [ -e "$1" ]; then
  stat -L -c 'kind=%F' -- "$1"; stat -L -c 'target=%a %u %g %U %G' -- "$1"
fi
if [ -n "$2" ] && [ -f "$1" ]; then sum=$(sha256sum <"$1"); echo "sum=${sum%% *}"; fi
exit 0
"#;

pub(super) async fn file(
    link: &dyn Link,
    expected: &FileAssertion,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let path = &expected.path;
    let sum = expected.sha256.as_ref().map_or("", |_| "sum");
    let output = ask(
        link,
        Command::script(FILE, [path.as_str(), sum]).sudo(true),
        ctx,
    )
    .await?;
    let (symlink, target) = (value(&output, "link"), value(&output, "target"));
    let exists = symlink.is_some() || target.is_some();
    if !expected.exists {
        if exists {
            findings.add(path, "nothing there", kind_name(&output));
        }
        return Ok(());
    }
    if !exists {
        findings.add(path, "to exist", "nothing there");
        return Ok(());
    }
    let itself = expected.kind == Some(FileKind::Symlink);
    if let Some(kind) = expected.kind {
        let (name, fits) = match kind {
            FileKind::Symlink => ("a symbolic link", symlink.is_some()),
            FileKind::Directory => ("a folder", value(&output, "kind") == Some("directory")),
            FileKind::File => (
                "a file",
                matches!(
                    value(&output, "kind"),
                    Some("regular file" | "regular empty file")
                ),
            ),
        };
        if !fits {
            findings.add(path, name, kind_name(&output));
            return Ok(());
        }
    }
    let Some(facts) = (if itself { symlink } else { target }) else {
        findings.add(path, "to exist", "a symbolic link to nothing");
        return Ok(());
    };
    let facts: Vec<&str> = facts.split(' ').collect();
    let [mode, uid, gid, owner, group] = facts.as_slice() else {
        return Err(StepError::guest(format!(
            "the look at {path} gave `{}`",
            facts.join(" ")
        )));
    };
    if let Some(wanted) = expected.mode {
        let found = u32::from_str_radix(mode, 8).unwrap_or(u32::MAX);
        if wanted != found {
            findings.add(
                format!("mode of {path}"),
                format!("{wanted:04o}"),
                format!("{found:04o}"),
            );
        }
    }
    for (what, wanted, name, number) in [
        ("owner", &expected.owner, owner, uid),
        ("group", &expected.group, group, gid),
    ] {
        if let Some(wanted) = wanted
            && wanted != name
            && wanted != number
        {
            findings.add(format!("{what} of {path}"), wanted, *name);
        }
    }
    if let Some(wanted) = &expected.sha256 {
        let found = value(&output, "sum").unwrap_or("not a file");
        findings.compare(format!("sha256 of {path}"), &wanted.to_lowercase(), found);
    }
    if let Some(text) = &expected.contains {
        contents(link, path, text.expose_secret(), findings, ctx).await?;
    }
    Ok(())
}

fn kind_name(output: &Output) -> String {
    match value(output, "kind") {
        None => "a symbolic link to nothing".into(),
        Some("directory") => "a folder".into(),
        Some("regular file" | "regular empty file") if value(output, "link").is_none() => {
            "a file".into()
        }
        Some("regular file" | "regular empty file") => "a symbolic link to a file".into(),
        Some(other) => other.to_owned(),
    }
}

async fn contents(
    link: &dyn Link,
    path: &str,
    text: &str,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let sink = Captured::new(LARGEST);
    let command = Command::script(&format!("head -c {LARGEST} <\"$1\""), [path]).sudo(true);
    let exit = link
        .exec(command, Box::new(sink.clone()), &ctx.cancel)
        .await?;
    let output = sink.output(exit);
    let what = format!("content of {path}");
    if !output.exit.success() {
        findings.add(what, format!("`{text}` in it"), output.reason());
    } else if !output.stdout.contains(text) {
        findings.add(what, format!("`{text}` in it"), "no such text");
    }
    Ok(())
}

const PACKAGE: &str = r#"if command -v dpkg-query >/dev/null 2>&1; then
  dpkg-query -W -f '${db:Status-Status}=${Version}\n' -- "$1" 2>/dev/null
elif command -v rpm >/dev/null 2>&1; then
  rpm -q --qf 'installed=%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n' -- "$1"
else echo 'neither dpkg nor rpm is there' >&2; exit 1; fi
exit 0
"#;

pub(super) async fn package(
    link: &dyn Link,
    expected: &PackageAssertion,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let what = format!("package {}", expected.name);
    let output = ask(link, Command::script(PACKAGE, [&expected.name]), ctx).await?;
    let found = value(&output, "installed");
    match (expected.installed, found) {
        (true, None) => {
            let version = expected
                .version
                .as_ref()
                .map(|v| format!(" {v}"))
                .unwrap_or_default();
            findings.add(what, format!("installed{version}"), "not installed");
        }
        (false, Some(version)) => findings.add(what, "not installed", format!("version {version}")),
        (true, Some(version)) => {
            if let Some(wanted) = &expected.version
                && !matches(wanted, version)
            {
                findings.add(
                    what,
                    format!("version {wanted}"),
                    format!("version {version}"),
                );
            }
        }
        (false, None) => {}
    }
    Ok(())
}

const SERVICE: &str = r#"if ! command -v systemctl >/dev/null 2>&1; then
  echo 'systemctl is not there' >&2; exit 1
fi
exec systemctl show -p LoadState -p ActiveState -p SubState -p UnitFileState -- "$1"
"#;

pub(super) async fn service(
    link: &dyn Link,
    expected: &ServiceAssertion,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let name = &expected.name;
    let what = format!("service {name}");
    let output = ask(link, Command::script(SERVICE, [name]).sudo(true), ctx).await?;
    let get = |key| value(&output, key).unwrap_or_default();
    if get("LoadState") == "not-found" {
        if expected.enabled == Some(true) || expected.active == Some(true) {
            findings.add(what, "to exist", "no such unit");
        }
        return Ok(());
    }
    if let Some(wanted) = expected.enabled {
        let state = get("UnitFileState");
        let enabled = matches!(state, "enabled" | "enabled-runtime" | "alias" | "generated");
        if wanted != enabled {
            let wanted = if wanted { "enabled" } else { "not enabled" };
            let found = if state.is_empty() {
                "not to be enabled at all"
            } else {
                state
            };
            findings.add(&what, wanted, found);
        }
    }
    if let Some(wanted) = expected.active {
        let (state, sub) = (get("ActiveState"), get("SubState"));
        if wanted != matches!(state, "active" | "reloading") {
            let wanted = if wanted { "active" } else { "not active" };
            findings.add(&what, wanted, format!("{state} ({sub})"));
        }
    }
    Ok(())
}

const USER: &str = r#"entry=$(getent passwd -- "$1") || exit 0
echo "entry=$entry"
echo "groups=$(id -Gn -- "$1")"
"#;

pub(super) async fn user(
    link: &dyn Link,
    expected: &UserAssertion,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let name = &expected.name;
    let what = format!("user {name}");
    let output = ask(link, Command::script(USER, [name]), ctx).await?;
    let Some(entry) = value(&output, "entry") else {
        if expected.exists {
            findings.add(what, "to exist", "no such user");
        }
        return Ok(());
    };
    let fields: Vec<&str> = entry.split(':').collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    if !expected.exists {
        findings.add(what, "no such user", format!("uid {}", field(2)));
        return Ok(());
    }
    if let Some(uid) = expected.uid {
        findings.compare(format!("uid of {name}"), &uid.to_string(), field(2));
    }
    if let Some(home) = &expected.home {
        findings.compare(format!("home of {name}"), home, field(5));
    }
    if let Some(shell) = &expected.shell {
        findings.compare(format!("shell of {name}"), shell, field(6));
    }
    let groups = value(&output, "groups").unwrap_or_default();
    for group in &expected.groups {
        if !groups.split(' ').any(|g| g == group) {
            findings.add(
                format!("groups of {name}"),
                format!("`{group}` among them"),
                groups,
            );
        }
    }
    Ok(())
}

/// Gives the last lines of output.
pub(super) async fn command(
    link: &dyn Link,
    expected: &CommandAssertion,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<Vec<String>, StepError> {
    let shell = Shell {
        script: Script::Inline(expected.command.clone()),
        args: Vec::new(),
        sudo: expected.sudo,
        interpreter: None,
        valid_exit_codes: expected.valid_exit_codes.clone(),
        env: std::collections::BTreeMap::new(),
    };
    let command = Prepared::new(&shell, ctx).await?.attached()?;
    let sink = Captured::new(LARGEST);
    let exit = link
        .exec(command, Box::new(sink.clone()), &ctx.cancel)
        .await?;
    let output = sink.output(exit);
    let fits = matches!(&output.exit, Exit::Code(code) if expected.valid_exit_codes.contains(code));
    let shown = first_line(expected.command.expose_secret());
    if !fits {
        let codes: Vec<String> = expected
            .valid_exit_codes
            .iter()
            .map(u32::to_string)
            .collect();
        let wanted = format!("exit status {}", codes.join(" or "));
        findings.add(
            format!("command `{shown}`"),
            wanted,
            output.exit.to_string(),
        );
    } else if let Some(text) = &expected.contains
        && !output.stdout.contains(text.expose_secret())
    {
        let wanted = format!("`{}` in it", text.expose_secret());
        let found = match first_line(output.stdout.trim()) {
            "" => "nothing".to_owned(),
            said => format!("`{said}`"),
        };
        findings.add(format!("output of `{shown}`"), wanted, found);
    }
    let lines = output.stdout.lines().chain(output.stderr.lines());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    Ok(lines[lines.len().saturating_sub(15)..].to_vec())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
