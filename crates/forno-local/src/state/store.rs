//! The world behind its lock, and on disk. Many calls may change it at once;
//! one write to disk then serves all that happened before it (group commit),
//! and a call is answered only after its change is safe.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::folder::{read_json, write_json};
use super::world::World;
use crate::error::Error;

/// The world of one endpoint.
#[derive(Debug)]
pub(crate) struct Store {
    file: PathBuf,
    live: Mutex<Live>,
    /// The revision on disk; held while writing.
    saved: Mutex<u64>,
}

#[derive(Debug)]
struct Live {
    world: World,
    revision: u64,
}

impl Store {
    /// Reads what an earlier endpoint left.
    pub(crate) fn open(file: PathBuf) -> Result<Self, Error> {
        let world = read_json(&file)?.unwrap_or_default();
        Ok(Self {
            file,
            live: Mutex::new(Live { world, revision: 1 }),
            saved: Mutex::new(0),
        })
    }

    /// Looks at the world.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.lock().world)
    }

    /// Changes the world; the change is in memory only until [`Store::save`].
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut live = self.lock();
        live.revision += 1;
        change(&mut live.world)
    }

    /// Changes the world and writes it down, without holding up the runtime.
    pub(crate) async fn change_and_save<T>(
        self: &std::sync::Arc<Self>,
        change: impl FnOnce(&mut World) -> T,
    ) -> T {
        let result = self.change(change);
        let store = std::sync::Arc::clone(self);
        // A lost write of a state that a machine reached is no reason to stop
        // the machine; the next save carries it.
        match tokio::task::spawn_blocking(move || store.save()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "state not written"),
            Err(error) => tracing::error!(%error, "state writer ended"),
        }
        result
    }

    /// Returns when everything changed before the call is on disk.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let wanted = self.lock().revision;
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved >= wanted {
            return Ok(());
        }
        let (world, revision) = {
            let live = self.lock();
            (live.world.clone(), live.revision)
        };
        write_json(&self.file, &world)?;
        *saved = revision;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // A panic inside a handler is answered with an error; what it left
        // behind is still the best knowledge there is.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        let store = Store::open(file.clone()).unwrap();
        store.change(|world| {
            world
                .region("us-east-1")
                .tags
                .insert("ami-1".into(), [("a".into(), "b".into())].into());
        });
        store.save().unwrap();
        let again = Store::open(file).unwrap();
        assert_eq!(
            again.read(|world| world.regions["us-east-1"].tags["ami-1"]["a"].clone()),
            "b"
        );
    }

    #[test]
    fn many_writers_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        let store = Store::open(file.clone()).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..10 {
                        store.change(|world| {
                            world
                                .region("us-east-1")
                                .tags
                                .entry(format!("w{writer}-{n}"))
                                .or_default();
                        });
                        store.save().unwrap();
                    }
                });
            }
        });
        let again = Store::open(file).unwrap();
        assert_eq!(
            again.read(|world| world.regions["us-east-1"].tags.len()),
            80
        );
    }
}
