//! Where the files of a bake lie, known in one place.

use std::path::{Path, PathBuf};

use forno_events::StepId;

pub(crate) fn recipe(dir: &Path) -> PathBuf {
    dir.join("recipe.json")
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

pub(crate) fn manifest(dir: &Path) -> PathBuf {
    dir.join("manifest.json")
}

pub(crate) fn connection(dir: &Path) -> PathBuf {
    dir.join("connection.json")
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
