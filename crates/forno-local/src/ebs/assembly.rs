//! Snapshots that are being put together: their open disks, and what was written. Held in
//! memory only; what is under way when the endpoint ends has failed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// One snapshot while blocks are put into it.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) file: File,
    pub(super) blocks: BTreeMap<u32, Vec<u8>>,
    /// It is given up when nothing was done for so long.
    pub(super) patience: Duration,
    pub(super) touched: Instant,
}

/// Of one StartSnapshot: what was asked, and the snapshot that came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) digest: String,
    pub(super) snapshot: String,
}

/// All that are under way.
pub(crate) struct Assemblies {
    /// With which tokens of blocks are sealed.
    pub(super) secret: [u8; 32],
    open: Mutex<HashMap<String, Arc<Mutex<Option<Assembly>>>>>,
    tokens: Mutex<HashMap<String, Started>>,
}

impl Default for Assemblies {
    fn default() -> Self {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        Self {
            secret,
            open: Mutex::default(),
            tokens: Mutex::default(),
        }
    }
}

impl Assemblies {
    pub(super) fn begin(&self, snapshot: &str, assembly: Assembly) {
        let assembly = Arc::new(Mutex::new(Some(assembly)));
        lock(&self.open).insert(snapshot.to_owned(), assembly);
    }

    /// What is behind the lock is gone once the snapshot is sealed.
    pub(super) fn find(&self, snapshot: &str) -> Option<Arc<Mutex<Option<Assembly>>>> {
        lock(&self.open).get(snapshot).cloned()
    }

    pub(super) fn end(&self, snapshot: &str) {
        lock(&self.open).remove(snapshot);
    }

    /// What came of an earlier call with this token.
    pub(super) fn started(&self, token: &str) -> Option<Started> {
        lock(&self.tokens).get(token).cloned()
    }

    pub(super) fn remember(&self, token: &str, started: Started) {
        lock(&self.tokens).insert(token.to_owned(), started);
    }
}

impl Assembly {
    /// The checksum of all checksums, in the order of the blocks.
    pub(super) fn checksum(&self) -> String {
        let mut whole = Sha256::new();
        for one in self.blocks.values() {
            whole.update(one);
        }
        STANDARD.encode(whole.finalize())
    }
}

impl std::fmt::Debug for Assemblies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assemblies").finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
