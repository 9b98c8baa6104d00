//! What carries forno's tags and whose time is over, whichever machine made it.
//!
//! A bake cannot take longer than `forno:expires` says, so what is still there after
//! it belongs to nobody. A finished image and its snapshots never expire.

use std::collections::{BTreeMap, BTreeSet};

use forno_aws::{Image, InstanceState, TagMatch, Tags};
use forno_events::BakeId;
use forno_saga::{Body, EffectId, Intent, Ledger, Saga};
use jiff::Timestamp;

use super::{Fate, Known, Sweep};
use crate::bake::{
    IMAGE, INSTANCE, InstanceIntent, KEY_PAIR, Made, NamedIntent, SECURITY_GROUP, intent,
};
use crate::{Error, ErrorKind, names};

/// A resource with forno's tags.
struct Thing {
    kind: &'static str,
    id: String,
    /// The unique name, or of an instance its client token.
    name: String,
    tags: Tags,
}

impl Sweep<'_> {
    pub(super) async fn tagged(&self, known: &Known) -> Result<(), Error> {
        let mut forgotten: BTreeMap<BakeId, (String, Vec<Thing>)> = BTreeMap::new();
        for thing in self.things().await? {
            let spare = |why: String| {
                let bake = thing.tags.get(names::BAKE).unwrap_or_default();
                self.note(
                    bake,
                    thing.kind,
                    &thing.id,
                    "it has forno's tags",
                    Fate::Spared { why },
                );
            };
            let Some(bake) = thing
                .tags
                .get(names::BAKE)
                .and_then(|bake| bake.parse::<BakeId>().ok())
            else {
                spare(format!("its tag {} names no bake", names::BAKE));
                continue;
            };
            if known.contains(&bake) {
                continue;
            }
            let expires = thing.tags.get(names::EXPIRES).map(str::parse::<Timestamp>);
            let Some(Ok(expires)) = expires else {
                spare(format!("its tag {} holds no time", names::EXPIRES));
                continue;
            };
            if expires > self.now {
                spare(format!(
                    "its bake may be running on another machine, until {expires} at the latest"
                ));
            } else if let Some(why) = self.too_young(&bake) {
                spare(why);
            } else if let Some(user) = self.user_of(&thing).await? {
                spare(format!("{user} runs from it"));
            } else {
                let reason = format!("its time was over at {expires}");
                let (_, things) = forgotten
                    .entry(bake)
                    .or_insert_with(|| (reason, Vec::new()));
                things.push(thing);
            }
        }
        for (bake, (reason, things)) in forgotten {
            self.remove(&bake, &reason, things).await?;
        }
        Ok(())
    }

    /// Everything with forno's tags but finished images and what belongs to them.
    async fn things(&self) -> Result<Vec<Thing>, Error> {
        let ours = [TagMatch::has(names::BAKE)];
        let (keys, groups, images, snapshots, instances) = tokio::try_join!(
            self.gateway.key_pairs_tagged(&ours),
            self.gateway.security_groups_tagged(&ours),
            self.gateway.images_tagged(&ours),
            self.gateway.snapshots_tagged(&ours),
            self.gateway.instances_tagged(&ours),
        )
        .map_err(ErrorKind::Planning)?;
        let of_images: BTreeSet<_> = images.iter().flat_map(Image::snapshots).collect();
        let is_finished = |tags: &Tags| tags.get(names::FINISHED).is_some();
        let mut things = Vec::new();
        // In the order in which a bake makes them: they are undone from the last on.
        things.extend(keys.into_iter().map(|key| Thing {
            kind: KEY_PAIR,
            id: key.name.clone(),
            name: key.name,
            tags: key.tags,
        }));
        things.extend(groups.into_iter().map(|group| Thing {
            kind: SECURITY_GROUP,
            id: group.id.to_string(),
            name: group.name,
            tags: group.tags,
        }));
        // Left when their image went. The undo of an image takes them too, by tag.
        let orphans = snapshots
            .iter()
            .filter(|snapshot| !is_finished(&snapshot.tags) && !of_images.contains(&snapshot.id));
        things.extend(orphans.map(|snapshot| {
            Thing {
                kind: IMAGE,
                id: snapshot.id.to_string(),
                name: snapshot
                    .tags
                    .get("Name")
                    .unwrap_or(snapshot.id.as_str())
                    .to_owned(),
                tags: snapshot.tags.clone(),
            }
        }));
        let unfinished = images.iter().filter(|image| !is_finished(&image.tags));
        things.extend(unfinished.map(|image| Thing {
            kind: IMAGE,
            id: image.id.to_string(),
            name: image.name.clone().unwrap_or_default(),
            tags: image.tags.clone(),
        }));
        let there = instances
            .into_iter()
            .filter(|instance| instance.state != InstanceState::Terminated);
        things.extend(there.map(|instance| Thing {
            kind: INSTANCE,
            id: instance.id.to_string(),
            name: instance.client_token.unwrap_or_default(),
            tags: instance.tags,
        }));
        Ok(things)
    }

    /// A machine that runs from this image and is not forno's own.
    async fn user_of(&self, thing: &Thing) -> Result<Option<String>, Error> {
        let Ok(image) = forno_aws::ImageId::new(thing.id.as_str()) else {
            return Ok(None);
        };
        let users = self
            .gateway
            .instances_of_image(&image)
            .await
            .map_err(ErrorKind::Planning)?;
        Ok(users
            .into_iter()
            .find(|user| {
                user.state != InstanceState::Terminated && user.tags.get(names::BAKE).is_none()
            })
            .map(|user| user.id.to_string()))
    }

    async fn remove(&self, bake: &BakeId, reason: &str, things: Vec<Thing>) -> Result<(), Error> {
        if self.options.dry_run {
            for thing in things {
                self.note(
                    bake.as_str(),
                    thing.kind,
                    &thing.id,
                    reason,
                    Fate::WouldBeRemoved,
                );
            }
            return Ok(());
        }
        // Its own ledger is on another machine or unreadable. One for the time being
        // lets the undo be the same; if this process dies, the tags are still there.
        let folder = tempfile::tempdir().map_err(Error::io("create a temporary folder"))?;
        let place = serde_json::to_value(&self.here).unwrap_or_default();
        let ledger = Ledger::create(&folder.path().join(bake.as_str()), bake, place)?;
        for thing in things {
            let effect = EffectId::new(format!("{}-{}", thing.kind, thing.id));
            let step = thing.tags.get(names::STEP).unwrap_or_default().to_owned();
            let Intent { kind, intent, .. } = match thing.kind {
                INSTANCE => intent(
                    effect.clone(),
                    INSTANCE,
                    &InstanceIntent {
                        step,
                        client_token: thing.name,
                        instance_type: String::new(),
                        subnet: String::new(),
                    },
                ),
                kind => NamedIntent::intent(effect.clone(), kind, &thing.name, &step),
            };
            let made = serde_json::to_value(Made { id: thing.id }).unwrap_or_default();
            ledger.append(Body::Intent {
                effect: effect.clone(),
                kind,
                intent,
            })?;
            ledger.append(Body::Done { effect, done: made })?;
        }
        self.undo(bake, &Saga::new(ledger), reason).await;
        Ok(())
    }
}
