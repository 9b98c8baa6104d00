//! A file: there or not, of a kind, with mode, owner and contents.

use forno_link::{Command, Link, Stdin, capture};
use secrecy::ExposeSecret;

use super::facts::{Comparison, Facts};
use crate::{FileAssertion, FileKind, Mismatch, StepContext, StepError};

/// `$1` the path, `$2` whether the link itself is meant, `$3` whether to hash.
const LOOK: &str = r#"
case $2 in link) follow=; there() { [ -L "$1" ] || [ -e "$1" ]; } ;; *) follow=-L; there() { [ -e "$1" ]; } ;; esac
there "$1" || { echo missing; exit 0; }
stat $follow -c 'kind %F
mode %a
owner %U
uid %u
group %G
gid %g' -- "$1" || exit 1
[ "$3" = hash ] && [ -f "$1" ] && sha256sum -- "$1" | { read -r sum _; echo "sha256 ${sum#\\}"; }
exit 0
"#;

pub(super) async fn evaluate(
    link: &dyn Link,
    wanted: &FileAssertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    let path = &wanted.path;
    let itself = if wanted.kind == Some(FileKind::Symlink) {
        "link"
    } else {
        "target"
    };
    let hash = if wanted.sha256.is_some() { "hash" } else { "" };
    let facts = Facts::ask(link, path, LOOK, &[path, itself, hash], ctx).await?;
    let mut comparison = Comparison::default();
    match (wanted.exists, facts.get("missing").is_none()) {
        (true, false) => {
            comparison.differs(path.clone(), "a file", "nothing");
            return Ok(comparison.0);
        }
        (false, true) => {
            comparison.differs(
                path.clone(),
                "nothing",
                facts.get("kind").unwrap_or("a file"),
            );
            return Ok(comparison.0);
        }
        (false, false) => return Ok(comparison.0),
        (true, true) => {}
    }
    if let Some(kind) = wanted.kind {
        let found = facts.get("kind").unwrap_or("");
        if !is_kind(kind, found) {
            comparison.differs(format!("kind of {path}"), words(kind), found);
        }
    }
    if let Some(mode) = wanted.mode {
        let found = facts
            .get("mode")
            .and_then(|mode| u32::from_str_radix(mode, 8).ok());
        if found != Some(mode) {
            let found = found.map_or("unknown".to_owned(), |found| format!("{found:04o}"));
            comparison.differs(format!("mode of {path}"), format!("{mode:04o}"), found);
        }
    }
    for (what, wanted, name, number) in [
        ("owner", &wanted.owner, "owner", "uid"),
        ("group", &wanted.group, "group", "gid"),
    ] {
        if let Some(wanted) = wanted.as_deref()
            && facts.get(name) != Some(wanted)
            && facts.get(number) != Some(wanted)
        {
            comparison.differs(
                format!("{what} of {path}"),
                wanted,
                facts.get(name).unwrap_or("nobody"),
            );
        }
    }
    if let Some(wanted) = wanted.sha256.as_deref().map(str::to_ascii_lowercase) {
        comparison.equal(
            format!("sha256 of {path}"),
            Some(&wanted),
            facts.get("sha256"),
        );
    }
    if let Some(text) = &wanted.contains
        && !contains(link, path, text.expose_secret(), ctx).await?
    {
        // The text may be a secret: the message does not repeat it.
        comparison.differs(format!("contents of {path}"), "the text wanted", "another");
    }
    Ok(comparison.0)
}

/// The text goes by standard input, and the file is read by awk as one record,
/// so that a text of several lines is found as well.
async fn contains(
    link: &dyn Link,
    path: &str,
    text: &str,
    ctx: &StepContext,
) -> Result<bool, StepError> {
    const FIND: &str = r#"
[ -f "$1" ] && [ -r "$1" ] || exit 3
LC_ALL=C exec awk '
    NR == FNR { wanted = wanted (NR > 1 ? "\n" : "") $0; next }
    { held = held (FNR > 1 ? "\n" : "") $0 }
    END { exit index(held, wanted) ? 0 : 3 }
' - "$1"
"#;
    let command = Command::script(FIND, [path])
        .sudo(true)
        .stdin(Stdin::Bytes(format!("{text}\n").into()));
    let output = capture(link, command, &ctx.cancel).await?;
    match output.exit {
        forno_link::Exit::Code(0) => Ok(true),
        forno_link::Exit::Code(3) => Ok(false),
        _ => Err(StepError::guest(format!("{path}: {}", output.reason()))),
    }
}

fn is_kind(kind: FileKind, found: &str) -> bool {
    match kind {
        FileKind::File => found.starts_with("regular"),
        FileKind::Directory => found == "directory",
        FileKind::Symlink => found == "symbolic link",
    }
}

fn words(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "regular file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
    }
}
