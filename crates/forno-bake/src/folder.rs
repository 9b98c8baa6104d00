//! Where the files of a bake lie, known in one place.

use std::fs::File;
use std::path::{Path, PathBuf};

use forno_events::StepId;
use fs_err::os::unix::fs::OpenOptionsExt as _;

pub(crate) fn recipe(dir: &Path) -> PathBuf {
    dir.join("recipe.json")
}

/// What a later process must know to take the bake up.
pub(crate) fn plan(dir: &Path) -> PathBuf {
    dir.join("plan.json")
}

/// What is installed on the builder, once it is known.
pub(crate) fn packages(dir: &Path) -> PathBuf {
    dir.join("packages.json")
}

pub(crate) fn events(dir: &Path) -> PathBuf {
    dir.join("events.jsonl")
}

pub(crate) fn steps(dir: &Path) -> PathBuf {
    dir.join("steps")
}

pub(crate) fn step_log(dir: &Path, step: &StepId) -> PathBuf {
    steps(dir).join(format!("{step}.log"))
}

/// How far a step that runs has come on its machine.
pub(crate) fn step_run(dir: &Path, step: &StepId) -> PathBuf {
    steps(dir).join(format!("{step}.run"))
}

pub(crate) fn manifest(dir: &Path) -> PathBuf {
    dir.join("manifest.json")
}

pub(crate) fn connection(dir: &Path) -> PathBuf {
    dir.join("connection.json")
}

/// A file that grows, for its owner's eyes only: what steps say is their business.
pub(crate) fn append(path: &Path) -> std::io::Result<File> {
    let mut options = fs_err::OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    Ok(options.open(path)?.into_file())
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut file, &text)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
