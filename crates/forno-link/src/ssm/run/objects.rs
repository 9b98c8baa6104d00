//! The objects of one command, each of which is deleted when it has been fetched
//! and all of them at the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::ErrorKind;
use crate::ssm::Store;

/// Gets and puts of one object.
const TRIES: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct Objects {
    store: Arc<dyn Store>,
    prefix: String,
    urls: Duration,
    left: Arc<Mutex<BTreeSet<String>>>,
}

/// An object that the machine can fetch.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) size: usize,
    pub(super) sha256: String,
}

impl Objects {
    pub(super) fn new(store: Arc<dyn Store>, id: &str, urls: Duration) -> Self {
        Self {
            store,
            prefix: id.to_owned(),
            urls,
            left: Arc::default(),
        }
    }

    fn remember(&self, name: &str) -> String {
        let key = format!("{}/{name}", self.prefix);
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone());
        key
    }

    pub(super) async fn put(&self, name: &str, content: Bytes) -> Result<Object, ErrorKind> {
        let key = self.remember(name);
        let hashing = content.clone();
        let sha256 = tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&hashing)));
        let mut tries = 0;
        while let Err(refusal) = self.store.put(&key, content.clone()).await {
            tries += 1;
            if tries == TRIES {
                return Err(ErrorKind::Systems(refusal));
            }
        }
        let sha256 = sha256
            .await
            .map_err(|e| ErrorKind::Lost(format!("internal: {e}")))?;
        Ok(Object {
            key,
            size: content.len(),
            sha256,
        })
    }

    /// By which the machine fetches it, from now on for a while.
    pub(super) async fn url(&self, object: &Object) -> Result<SecretString, ErrorKind> {
        let url = self.store.presign_get(&object.key, self.urls).await;
        url.and_then(checked).map_err(failed)
    }

    /// A place for an object of the machine's: its key and URL.
    pub(super) async fn place(&self, name: &str) -> Result<(String, SecretString), ErrorKind> {
        let key = self.remember(name);
        let url = self.store.presign_put(&key, self.urls).await;
        let url = url.and_then(checked).map_err(failed)?;
        Ok((key, url))
    }

    pub(super) async fn get(&self, key: &str, size: u64, sha256: &str) -> Result<Bytes, ErrorKind> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.get(key).await {
                Ok(content) => {
                    let hashing = content.clone();
                    let found =
                        tokio::task::spawn_blocking(move || hex::encode(Sha256::digest(&hashing)))
                            .await
                            .unwrap_or_default();
                    if content.len() as u64 == size && found == sha256 {
                        return Ok(content);
                    }
                    if tries == TRIES {
                        return Err(ErrorKind::Damaged {
                            what: "output".into(),
                            expected: sha256.to_owned(),
                            found,
                        });
                    }
                }
                Err(refusal) if tries == TRIES => return Err(failed(refusal)),
                Err(_) => {}
            }
        }
    }

    pub(super) async fn delete(&self, keys: Vec<String>) {
        if keys.is_empty() {
            return;
        }
        if let Err(refusal) = self.store.delete(&keys).await {
            // Once more at the end.
            tracing::debug!(%refusal, "deleting objects");
            return;
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &keys {
            left.remove(key);
        }
    }

    /// All that is left.
    pub(super) async fn clear(&self) {
        let left = {
            let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            left.iter().cloned().collect()
        };
        self.delete(left).await;
    }
}

fn failed(refusal: crate::ssm::Refusal) -> ErrorKind {
    ErrorKind::Systems(refusal)
}

/// It goes into a line of words, and into a quoted string of curl's.
fn checked(url: SecretString) -> Result<SecretString, crate::ssm::Refusal> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"\"\\'".contains(&b);
    if url.expose_secret().bytes().all(plain) {
        return Ok(url);
    }
    Err(crate::ssm::Refusal::new(
        crate::ssm::RefusalKind::Other,
        "a presigned URL has characters that no URL has",
    ))
}
