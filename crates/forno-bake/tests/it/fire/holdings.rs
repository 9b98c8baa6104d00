//! What an endpoint really holds, whoever may see it: read from its state, not
//! asked by tags. A leak without a tag is one too.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::rig::Rig;

const ACCOUNT: &str = "123456789012";

/// What there is besides the endpoint's own, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings(BTreeMap<&'static str, Vec<String>>);

impl Holdings {
    pub(super) fn of(rig: &Rig) -> Self {
        let text = fs_err::read(rig.path().join("local/state.json")).unwrap();
        let state: Value = serde_json::from_slice(&text).unwrap();
        let mut held: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for region in state["regions"].as_object().unwrap().values() {
            let mut take = |kind: &'static str, list: &str, counts: &dyn Fn(&Value) -> bool| {
                for (id, one) in region[list].as_object().into_iter().flatten() {
                    if counts(one) {
                        held.entry(kind).or_default().push(id.clone());
                    }
                }
            };
            let ours = |one: &Value| one["owner"] == ACCOUNT;
            take("key pair", "keys", &|_| true);
            take("security group", "groups", &|group| {
                group["name"] != "default"
            });
            take("image", "images", &ours);
            take("snapshot", "snapshots", &ours);
            take("volume", "volumes", &|_| true);
            take("instance", "instances", &|instance| {
                instance["state"] != "terminated"
            });
        }
        for (kind, list) in [("role", "roles"), ("instance profile", "profiles")] {
            let names = state["iam"][list].as_object().into_iter().flatten();
            let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
            if !names.is_empty() {
                held.insert(kind, names);
            }
        }
        Self(held)
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// So many images, each on one snapshot, and nothing else.
    pub(super) fn are_images(&self, count: usize) -> bool {
        let so_many = |kind| self.0.get(kind).is_some_and(|all| all.len() == count);
        self.0.len() == 2 && so_many("image") && so_many("snapshot")
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("nothing");
        }
        for (kind, ids) in &self.0 {
            write!(f, "{kind} {}; ", ids.join(" "))?;
        }
        Ok(())
    }
}
