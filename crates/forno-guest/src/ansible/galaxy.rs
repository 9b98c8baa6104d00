//! Roles and collections that a playbook requires, fetched by ansible-galaxy.
//!
//! What is pinned to versions is kept between bakes, by the content of the
//! requirements; what is not is fetched anew each time.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;
use sha2::{Digest, Sha256};

use super::workplace::Workplace;
use crate::error::StepErrorKind;
use crate::output::Tap;
use crate::process::{self, Program};
use crate::step::Ansible;
use crate::{StepContext, StepError};

/// Where they lie now.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) roles: PathBuf,
    pub(super) collections: PathBuf,
}

/// What a requirements file asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) roles: bool,
    pub(super) collections: bool,
    pinned: bool,
}

pub(super) async fn install(
    file: &Path,
    ansible: &Ansible,
    place: &Workplace,
    ctx: &StepContext,
) -> Result<Installed, StepError> {
    let content = fs_err::tokio::read_to_string(file)
        .await
        .map_err(|error| StepError::local("cannot read the requirements", error))?;
    let asked = asked_of(file, &content)?;
    let kept = match &ctx.cache {
        Some(cache) if asked.pinned => {
            let key = hex::encode(Sha256::digest(content.as_bytes()));
            Some(cache.join("galaxy").join(key))
        }
        _ => None,
    };
    if let Some(kept) = &kept
        && kept.is_dir()
    {
        return Ok(at(kept));
    }
    process::require(&ctx.ansible_galaxy, "ansible-core").await?;
    // Filled under another name and then moved, so that half of it is never used.
    let dir = match &kept {
        None => place.path("galaxy"),
        Some(kept) => kept.with_extension(format!("{}", std::process::id())),
    };
    let local = |error| StepError::local("cannot keep roles and collections", error);
    // What others could write here would be run by the next bake.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(local)?;
    let installed = at(&dir);
    for (wanted, kind, to) in [
        (asked.roles, "role", &installed.roles),
        (asked.collections, "collection", &installed.collections),
    ] {
        if wanted {
            fetch(kind, file, to, ansible, place, ctx).await?;
        }
    }
    let Some(kept) = kept else {
        return Ok(installed);
    };
    match fs_err::rename(&dir, &kept) {
        Ok(()) => {}
        // Another bake was faster.
        Err(_) if kept.is_dir() => fs_err::remove_dir_all(&dir).map_err(local)?,
        Err(error) => return Err(local(error)),
    }
    Ok(at(&kept))
}

fn at(dir: &Path) -> Installed {
    Installed {
        roles: dir.join("roles"),
        collections: dir.join("collections"),
    }
}

async fn fetch(
    kind: &str,
    file: &Path,
    to: &Path,
    ansible: &Ansible,
    place: &Workplace,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let tap = Tap::new(ctx);
    tap.say(&format!("ansible-galaxy: {kind}s of {}", file.display()));
    let mut env = place.environment(ansible);
    // It has output of its own; our plugin is for plays.
    env.remove("ANSIBLE_STDOUT_CALLBACK");
    // Not the bake's key: repositories of roles are not the machine.
    env.remove("SSH_AUTH_SOCK");
    let args: Vec<OsString> = vec![
        kind.into(),
        "install".into(),
        "-r".into(),
        file.into(),
        "-p".into(),
        to.into(),
    ];
    let program = Program {
        path: &ctx.ansible_galaxy,
        args,
        env,
        forgets: super::OWN_SETTINGS,
        dir: folder_of(file),
        leaves: place.leaves(),
    };
    let say = |line: &str| tap.say(line);
    let status = process::run(program, say, say, &ctx.cancel).await?;
    let tail = tap.finish();
    if status.success() {
        return Ok(());
    }
    Err(StepError::guest(format!(
        "ansible-galaxy could not install the {kind}s ({status})"
    ))
    .tail(tail))
}

pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

pub(super) fn asked_of(file: &Path, content: &str) -> Result<Asked, StepError> {
    asked(content)
        .map_err(|why| StepError::new(StepErrorKind::Invalid(format!("{}: {why}", file.display()))))
}

fn asked(content: &str) -> Result<Asked, String> {
    let value: Value = serde_yaml_ng::from_str(content).map_err(|error| error.to_string())?;
    let empty = Vec::new();
    let (roles, collections) = match &value {
        Value::Null => (&empty, &empty),
        // The old form: roles only.
        Value::Sequence(roles) => (roles, &empty),
        Value::Mapping(_) => {
            let list = |key: &str| {
                value
                    .get(key)
                    .and_then(Value::as_sequence)
                    .unwrap_or(&empty)
            };
            (list("roles"), list("collections"))
        }
        _ => return Err("neither a list of roles nor a mapping".into()),
    };
    let exact = |entry: &Value| {
        entry
            .get("version")
            .and_then(Value::as_str)
            .is_some_and(|v| !v.is_empty() && !v.contains(['*', '<', '>', ',', '!']))
    };
    Ok(Asked {
        roles: !roles.is_empty(),
        collections: !collections.is_empty(),
        pinned: roles.iter().chain(collections).all(exact),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(content: &str) -> (bool, bool, bool) {
        let asked = asked(content).unwrap();
        (asked.roles, asked.collections, asked.pinned)
    }

    #[test]
    fn requirements_in_their_forms() {
        assert_eq!(flags(""), (false, false, true));
        assert_eq!(flags("- src: a.b\n  version: '1.2'\n"), (true, false, true));
        assert_eq!(flags("roles: [{name: a.b}]\n"), (true, false, false));
        assert_eq!(
            flags("collections: [community.general]\n"),
            (false, true, false)
        );
        let both = "roles: [{src: x, version: v1}]\ncollections: [{name: a.b, version: '>=1'}]\n";
        assert_eq!(flags(both), (true, true, false));
        assert!(asked("text").is_err());
    }
}
