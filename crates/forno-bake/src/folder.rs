//! The folder of a bake: what it holds, and the listing of all of them.
//!
//! `FORNO_HOME/bakes/<bake>/` with the resolved recipe, the ledger, the events,
//! the output of every step, how to reach the builder while there is one, and
//! in the end the manifest. Nothing in it is secret.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use forno_events::{BakeId, Envelope, StepId};
use fs_err as fs;

/// The folder of all bakes.
#[derive(Clone, Debug)]
pub struct Bakes(PathBuf);

/// The folder of one.
#[derive(Clone, Debug)]
pub struct BakeFolder {
    id: BakeId,
    path: PathBuf,
}

impl Bakes {
    /// `home` is FORNO_HOME.
    pub fn under(home: &Path) -> Self {
        Self(home.join("bakes"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder of a new bake.
    pub fn create(&self, id: &BakeId) -> io::Result<BakeFolder> {
        let folder = self.folder(id);
        fs::create_dir_all(&self.0)?;
        fs::create_dir(&folder.path)?;
        fs::create_dir(folder.path.join("steps"))?;
        Ok(folder)
    }

    /// The folder of a bake, whether it is there or not.
    pub fn folder(&self, id: &BakeId) -> BakeFolder {
        BakeFolder {
            id: id.clone(),
            path: self.0.join(id.as_str()),
        }
    }

    /// All bakes, the newest last. What is not a bake is passed over.
    pub fn list(&self) -> io::Result<Vec<BakeFolder>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bakes = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse::<BakeId>().ok()) {
                bakes.push(self.folder(&id));
            }
        }
        bakes.sort_by(|a, b| a.ulid().cmp(b.ulid()));
        Ok(bakes)
    }

    /// The bake that a person means: its whole name, `last`, or an image's name
    /// for its newest bake.
    pub fn find(&self, name: &str) -> io::Result<Option<BakeFolder>> {
        let all = self.list()?;
        Ok(all.into_iter().rev().find(|bake| {
            name == "last" || bake.id.as_str() == name || bake.id.image() == name
        }))
    }
}

impl BakeFolder {
    pub fn id(&self) -> &BakeId {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.json")
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest.json")
    }

    /// How `forno shell` reaches the builder; there while there is one.
    pub fn connection(&self) -> PathBuf {
        self.path.join("connection.json")
    }

    pub fn step_log(&self, step: &StepId) -> PathBuf {
        self.path.join("steps").join(format!("{step}.log"))
    }

    /// The recorded events. A torn last line, of a bake that was killed or is
    /// running, is left out.
    pub fn read_events(&self) -> io::Result<Vec<Envelope>> {
        let file = io::BufReader::new(fs::File::open(self.events())?);
        let mut events = Vec::new();
        for line in file.lines() {
            match serde_json::from_str(&line?) {
                Ok(event) => events.push(event),
                Err(_) => break,
            }
        }
        Ok(events)
    }

    fn ulid(&self) -> &str {
        self.id.as_str().rsplit_once('-').map_or("", |(_, ulid)| ulid)
    }
}

/// Writes a file so that a reader sees the old one or the new one, never a part.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bake_is_found_by_what_a_person_types() {
        let home = tempfile::tempdir().unwrap();
        let bakes = Bakes::under(home.path());
        assert!(bakes.find("last").unwrap().is_none());
        let base = BakeId::new("base");
        bakes.create(&base).unwrap();
        let worker = BakeId::new("worker");
        bakes.create(&worker).unwrap();
        fs::create_dir(bakes.path().join("not a bake")).unwrap();
        let found = |name: &str| bakes.find(name).unwrap().map(|bake| bake.id().clone());
        assert_eq!(found("base"), Some(base.clone()));
        assert_eq!(found(base.as_str()), Some(base));
        assert_eq!(found("controller"), None);
        assert_eq!(bakes.list().unwrap().len(), 2);
    }

    #[test]
    fn a_torn_last_event_is_left_out() {
        let home = tempfile::tempdir().unwrap();
        let bake = Bakes::under(home.path()).create(&BakeId::new("base")).unwrap();
        let event = Envelope {
            v: forno_events::SCHEMA_VERSION,
            bake: bake.id().clone(),
            index: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: 0,
            body: forno_events::Event::CancelRequested { reason: "test".into() },
        };
        let line = serde_json::to_string(&event).unwrap();
        fs::write(bake.events(), format!("{line}\n{}", line.split_at(20).0)).unwrap();
        assert_eq!(bake.read_events().unwrap(), [event]);
    }
}
