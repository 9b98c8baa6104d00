//! The bakes of this machine, alive and past: for listing, showing, replaying
//! and looking into them.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use forno_events::{BakeId, Envelope, Event, StepId};
use forno_guest::Package;

use crate::plan::Saved;
use crate::{Connection, Error, Manifest, folder};

/// The folder that holds the folders of all bakes.
#[derive(Clone, Debug)]
pub struct Bakes(PathBuf);

/// The folder of one bake.
#[derive(Clone, Debug)]
pub struct BakeFolder {
    id: BakeId,
    path: PathBuf,
}

impl Bakes {
    /// `home` is `FORNO_HOME`.
    pub fn under(home: &Path) -> Self {
        Self(home.join("bakes"))
    }

    pub fn path(&self) -> &Path {
        &self.0
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
        let entries = match fs_err::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bakes = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse::<BakeId>().ok()) {
                bakes.push(self.folder(&id));
            }
        }
        bakes.sort_by(|a, b| a.moment().cmp(b.moment()));
        Ok(bakes)
    }

    /// The bake that a person means: its whole name, the end of it as shown in
    /// names of resources, an image's name for its newest bake, or `last`.
    pub fn find(&self, name: &str) -> io::Result<Option<BakeFolder>> {
        Ok(self.list()?.into_iter().rev().find(|bake| {
            name == "last"
                || bake.id.as_str() == name
                || bake.id.short() == name
                || bake.id.image() == name
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

    /// Whether a process works on it now.
    pub fn is_alive(&self) -> Result<bool, forno_saga::Error> {
        forno_saga::is_alive(&self.path)
    }

    /// What its ledger says; an error tells a corrupt one from an unreadable one.
    pub fn ledger(&self) -> Result<forno_saga::History, forno_saga::Error> {
        forno_saga::read(&self.path)
    }

    /// The recorded events. A torn last line, of a bake that was killed or is
    /// just being written, is left out.
    pub fn events(&self) -> io::Result<Vec<Envelope>> {
        let file = fs_err::File::open(folder::events(&self.path))?;
        let mut events = Vec::new();
        for line in BufReader::new(file).lines() {
            match serde_json::from_str(&line?) {
                Ok(event) => events.push(event),
                Err(_) => break,
            }
        }
        Ok(events)
    }

    /// The resolved recipe, secrets masked.
    pub fn recipe(&self) -> io::Result<Option<serde_json::Value>> {
        Self::json(folder::recipe(&self.path))
    }

    /// What a later process must know to take it up.
    pub(crate) fn plan(&self) -> Result<Option<Saved>, Error> {
        Self::json(folder::plan(&self.path)).map_err(Error::io("read the plan of a bake"))
    }

    /// What was installed on its builder, as far as it is known.
    pub(crate) fn packages(&self) -> Option<Vec<Package>> {
        Self::json(folder::packages(&self.path)).ok()?
    }

    /// How it was announced.
    pub(crate) fn announced(&self) -> Option<Event> {
        let events = self.events().ok()?;
        events
            .into_iter()
            .map(|envelope| envelope.body)
            .find(|event| matches!(event, Event::BakeStarted { .. }))
    }

    /// What it made; `None` when it did not get that far.
    pub fn manifest(&self) -> io::Result<Option<Manifest>> {
        Self::json(folder::manifest(&self.path))
    }

    /// How to reach its machine, while there is one.
    pub fn connection(&self) -> io::Result<Option<Connection>> {
        Self::json(folder::connection(&self.path))
    }

    /// Where the whole output of a step stands.
    pub fn step_log(&self, step: &StepId) -> PathBuf {
        folder::step_log(&self.path, step)
    }

    fn json<T: serde::de::DeserializeOwned>(path: PathBuf) -> io::Result<Option<T>> {
        match fs_err::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ULID: sorts by the time of the start.
    fn moment(&self) -> &str {
        self.id
            .as_str()
            .rsplit_once('-')
            .map_or("", |(_, ulid)| ulid)
    }
}

#[cfg(test)]
mod tests {
    use forno_events::SCHEMA_VERSION;

    use super::*;

    #[test]
    fn a_bake_is_found_by_what_a_person_types() {
        let home = tempfile::tempdir().unwrap();
        let bakes = Bakes::under(home.path());
        assert!(bakes.find("last").unwrap().is_none());
        let base = BakeId::new("base");
        let worker = BakeId::new("worker");
        for id in [&base, &worker] {
            fs_err::create_dir_all(bakes.folder(id).path()).unwrap();
        }
        fs_err::create_dir(bakes.path().join("not a bake")).unwrap();
        let found = |name: &str| bakes.find(name).unwrap().map(|bake| bake.id().clone());
        assert_eq!(found("base"), Some(base.clone()));
        assert_eq!(found(base.as_str()), Some(base.clone()));
        assert_eq!(found(base.short()), Some(base));
        assert_eq!(found("controller"), None);
        assert_eq!(bakes.list().unwrap().len(), 2);
    }

    #[test]
    fn a_torn_last_event_is_left_out() {
        let home = tempfile::tempdir().unwrap();
        let bake = Bakes::under(home.path()).folder(&BakeId::new("base"));
        fs_err::create_dir_all(bake.path()).unwrap();
        let event = Envelope {
            v: SCHEMA_VERSION,
            bake: bake.id().clone(),
            index: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: 0,
            body: Event::CancelRequested {
                reason: "test".into(),
            },
        };
        let line = serde_json::to_string(&event).unwrap();
        let torn = line.get(..20).unwrap();
        fs_err::write(folder::events(bake.path()), format!("{line}\n{torn}")).unwrap();
        assert_eq!(bake.events().unwrap(), [event]);
    }
}
