//! Roles and collections that a playbook asks for.
//!
//! When every one of them names its version they are kept between bakes,
//! under the digest of the file that asks; otherwise they are fetched anew.

use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;
use sha2::{Digest, Sha256};

use crate::{StepContext, StepError};

/// Where `ansible-galaxy` installs, and the playbook looks.
#[derive(Clone, Debug)]
pub(super) struct Galaxy {
    pub(super) roles: PathBuf,
    pub(super) collections: PathBuf,
}

impl Galaxy {
    pub(super) async fn folder(
        requirements: &Path,
        scratch: &Path,
        ctx: &StepContext,
    ) -> Result<Self, StepError> {
        let text = fs_err::tokio::read(requirements)
            .await
            .map_err(|error| StepError::local("cannot read the requirements", error))?;
        let parent = match &ctx.cache {
            Some(cache) if pinned(&text) => cache
                .join("galaxy")
                .join(hex::encode(Sha256::digest(&text))),
            _ => scratch.join("galaxy"),
        };
        let galaxy = Self {
            roles: parent.join("roles"),
            collections: parent.join("collections"),
        };
        for folder in [&galaxy.roles, &galaxy.collections] {
            fs_err::tokio::create_dir_all(folder)
                .await
                .map_err(|error| StepError::local("cannot make a folder for roles", error))?;
        }
        Ok(galaxy)
    }
}

/// Every entry, of roles and of collections, names one version.
fn pinned(text: &[u8]) -> bool {
    let entries = |list: &Value| {
        list.as_sequence().is_some_and(|entries| {
            entries.iter().all(|entry| {
                entry
                    .get("version")
                    .and_then(Value::as_str)
                    .is_some_and(|version| !version.contains(['*', '>', '<', '!', ',']))
            })
        })
    };
    match serde_yaml_ng::from_slice::<Value>(text) {
        Ok(Value::Mapping(parts)) => !parts.is_empty() && parts.values().all(entries),
        Ok(list) => entries(&list),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_versions_are_kept() {
        assert!(pinned(b"collections:\n  - name: a.b\n    version: 1.2.3\n"));
        assert!(pinned(b"- src: x\n  version: v1\n"));
        assert!(!pinned(
            b"collections:\n  - name: a.b\n    version: '>=1'\n"
        ));
        assert!(!pinned(b"roles:\n  - name: x\n"));
        assert!(!pinned(b": ["));
    }
}
