//! Eventual consistency: what was just made cannot be seen for a while.
//!
//! An action is given the world without what is hidden, so it answers for a
//! hidden thing exactly as for one that is not there. Only what EC2 decides at
//! once sees all of its sort: whether a name or a client token is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use tokio::time::Instant;

use crate::state::ids::Resource;
use crate::state::world::{RegionState, World};

/// Which ids are hidden, and until when.
#[derive(Debug, Default)]
pub(super) struct Veil(BTreeMap<String, Instant>);

impl Veil {
    pub(super) fn hide(&mut self, ids: impl IntoIterator<Item = String>, until: Instant) {
        self.0.extend(ids.into_iter().map(|id| (id, until)));
    }

    /// What an action must not see now.
    pub(super) fn hidden_from(&mut self, action: &str, now: Instant) -> Vec<String> {
        self.0.retain(|_, until| *until > now);
        let sees = sees(action);
        self.0
            .keys()
            .filter(|id| Resource::of(id).is_none_or(|resource| !sees.contains(&resource)))
            .cloned()
            .collect()
    }

    pub(super) fn lift(&mut self) {
        self.0.clear();
    }
}

/// What an action sees of, hidden or not.
fn sees(action: &str) -> &'static [Resource] {
    match action {
        // Client tokens and addresses.
        "RunInstances" |
        // Whether the group is in use.
        "DeleteSecurityGroup" => &[
            Resource::Instance,
            Resource::Volume,
            Resource::NetworkInterface,
        ],
        // Names. DeleteKeyPair never says that there is none.
        "CreateKeyPair" | "ImportKeyPair" | "DeleteKeyPair" => &[Resource::KeyPair],
        "CreateSecurityGroup" => &[Resource::SecurityGroup],
        "CreateImage" => &[Resource::Image, Resource::Snapshot],
        "RegisterImage" => &[Resource::Image],
        _ => &[],
    }
}

/// The world while some of one region is put aside; whole again when dropped.
pub(crate) struct Veiled<'a> {
    world: &'a mut World,
    region: &'static str,
    aside: RegionState,
}

impl<'a> Veiled<'a> {
    pub(super) fn new(world: &'a mut World, region: &'static str, hidden: &[String]) -> Self {
        let mut aside = RegionState::default();
        if !hidden.is_empty() {
            let state = world.region(region);
            for id in hidden {
                shift(&mut state.keys, &mut aside.keys, id);
                shift(&mut state.groups, &mut aside.groups, id);
                shift(&mut state.images, &mut aside.images, id);
                shift(&mut state.snapshots, &mut aside.snapshots, id);
                shift(&mut state.volumes, &mut aside.volumes, id);
                shift(&mut state.instances, &mut aside.instances, id);
                shift(&mut state.tags, &mut aside.tags, id);
            }
        }
        Self {
            world,
            region,
            aside,
        }
    }

    /// The ids of all that is there and was made by calls.
    pub(crate) fn ids(&mut self) -> BTreeSet<String> {
        let state = self.world.region(self.region);
        let interfaces = state.instances.values().map(|instance| &instance.interface);
        state
            .keys
            .keys()
            .chain(state.groups.keys())
            .chain(state.images.keys())
            .chain(state.snapshots.keys())
            .chain(state.volumes.keys())
            .chain(state.instances.keys())
            .chain(interfaces)
            .cloned()
            .collect()
    }
}

impl Deref for Veiled<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        self.world
    }
}

impl DerefMut for Veiled<'_> {
    fn deref_mut(&mut self) -> &mut World {
        self.world
    }
}

impl Drop for Veiled<'_> {
    fn drop(&mut self) {
        let aside = std::mem::take(&mut self.aside);
        let state = self.world.region(self.region);
        state.keys.extend(aside.keys);
        state.groups.extend(aside.groups);
        state.images.extend(aside.images);
        state.snapshots.extend(aside.snapshots);
        state.volumes.extend(aside.volumes);
        state.instances.extend(aside.instances);
        state.tags.extend(aside.tags);
    }
}

fn shift<T>(from: &mut BTreeMap<String, T>, to: &mut BTreeMap<String, T>, id: &str) {
    if let Some((id, value)) = from.remove_entry(id) {
        to.insert(id, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: &str = "key-0123456789abcdef0";
    const INSTANCE: &str = "i-0123456789abcdef0";

    #[test]
    fn what_is_hidden_comes_to_light_in_time() {
        let mut veil = Veil::default();
        let (now, until) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        veil.hide([KEY.to_owned(), INSTANCE.to_owned()], until);
        let mut hidden = |action, now| veil.hidden_from(action, now).len();
        assert_eq!(hidden("DescribeKeyPairs", now), 2);
        assert_eq!(hidden("ImportKeyPair", now), 1, "names are taken at once");
        assert_eq!(
            hidden("RunInstances", now),
            1,
            "client tokens are known at once"
        );
        assert_eq!(hidden("DescribeKeyPairs", until), 0);
    }

    #[test]
    fn the_world_is_whole_again_even_after_a_panic() {
        let mut world = World::default();
        let state = world.region("us-east-1");
        state
            .tags
            .insert(KEY.to_owned(), [("a".into(), "b".into())].into());
        let hidden = [KEY.to_owned()];
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let veiled = Veiled::new(&mut world, "us-east-1", &hidden);
            assert!(veiled.regions["us-east-1"].tags.is_empty());
            panic!("an action");
        }));
        assert!(looked.is_err());
        assert_eq!(world.regions["us-east-1"].tags.len(), 1);
    }
}
