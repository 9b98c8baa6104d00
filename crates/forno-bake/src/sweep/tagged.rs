//! What carries forno's tags and whose time is over, whichever machine made it; of a
//! bake of this machine that is over, at once.
//!
//! A bake cannot take longer than `forno:expires` says, so what is still there after
//! it belongs to nobody. A finished image and its snapshots never expire.

use std::collections::{BTreeMap, BTreeSet};

use forno_aws::{Image, ImageId, InstanceState, Kind, TagMatch, Tags};
use forno_events::BakeId;
use forno_saga::{Body, Effect, EffectId, Intent, Ledger, Saga};

use super::judge::{Judge, Verdict};
use super::{Fate, Known, Sweep};
use crate::bake::{
    BUCKET, IMAGE, INSTANCE, InstanceIntent, KEY_PAIR, Made, NamedIntent, PROFILE, ROLE,
    SECURITY_GROUP, id, intent,
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
        let ours = [TagMatch::has(names::BAKE)];
        let Some(things) = self.unless_stopped(self.things(&ours)).await? else {
            return Ok(());
        };
        let judge = Judge {
            known,
            now: self.now,
            older_than: self.options.older_than,
        };
        // Only what would go otherwise is worth asking about.
        let in_danger: Vec<ImageId> = things
            .iter()
            .filter(|thing| {
                let verdict = judge.of(thing.kind, &thing.tags, None);
                matches!(verdict, Verdict::Forgotten { .. })
            })
            .filter_map(|thing| ImageId::new(thing.id.as_str()).ok())
            .collect();
        let Some(users) = self.unless_stopped(self.users_of(&in_danger)).await? else {
            return Ok(());
        };
        let mut forgotten: BTreeMap<BakeId, (String, Vec<Thing>)> = BTreeMap::new();
        for thing in things {
            let user = ImageId::new(thing.id.as_str())
                .ok()
                .and_then(|image| users.get(&image));
            match judge.of(thing.kind, &thing.tags, user.map(String::as_str)) {
                Verdict::Known => {}
                Verdict::Spared(why) => {
                    let bake = thing.tags.get(names::BAKE).unwrap_or_default();
                    let fate = Fate::Spared { why };
                    self.note(bake, thing.kind, &thing.id, "it has forno's tags", fate);
                }
                Verdict::Forgotten { bake, reason } => {
                    let (_, things) = forgotten
                        .entry(bake)
                        .or_insert_with(|| (reason, Vec::new()));
                    things.push(thing);
                }
            }
        }
        for (bake, (reason, things)) in forgotten {
            if self.is_stopped() {
                break;
            }
            self.remove(&bake, &reason, things).await?;
        }
        Ok(())
    }

    /// What has these tags of forno, but for finished images and what belongs to them.
    async fn things(&self, ours: &[TagMatch]) -> Result<Vec<Thing>, Error> {
        let (keys, groups, images, snapshots, instances) = tokio::try_join!(
            self.gateway.key_pairs_tagged(ours),
            self.gateway.security_groups_tagged(ours),
            self.gateway.images_tagged(ours),
            self.gateway.snapshots_tagged(ours),
            self.gateway.instances_tagged(ours),
        )
        .map_err(ErrorKind::Planning)?;
        let buckets = self.buckets(ours).await?;
        let roles = self.roles(ours).await?;
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
        things.extend(buckets);
        things.extend(roles);
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

    /// Buckets are found by their names and then asked for their tags: S3 has no
    /// search. Who may not list them made none, or none that he may remove.
    async fn buckets(&self, ours: &[TagMatch]) -> Result<Vec<Thing>, Error> {
        let named = match self.gateway.buckets_named(names::BUCKETS).await {
            Ok(named) => named,
            Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Unsupported) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(Error::new(ErrorKind::Planning(error))),
        };
        let mut things = Vec::new();
        for bucket in named {
            let tags = match self.gateway.bucket_tags(&bucket.name).await {
                Ok(Some(tags)) => tags,
                Ok(None) => continue,
                Err(error) if error.kind() == Kind::Unauthorized => continue,
                Err(error) => return Err(Error::new(ErrorKind::Planning(error))),
            };
            if ours.iter().all(|one| one.holds(&tags)) {
                things.push(Thing {
                    kind: BUCKET,
                    id: bucket.name.clone(),
                    name: bucket.name,
                    tags,
                });
            }
        }
        Ok(things)
    }

    /// Roles and instance profiles are found by forno's path and then asked for their tags: IAM
    /// has no search. Who may not list them made none, or none that he may remove.
    async fn roles(&self, ours: &[TagMatch]) -> Result<Vec<Thing>, Error> {
        let nobody = |error: &forno_aws::Error| {
            matches!(
                error.kind(),
                // IAM is not to be had from within every network.
                Kind::Unauthorized | Kind::Unsupported | Kind::Unreachable
            )
        };
        let found = tokio::try_join!(
            self.gateway.roles_under(names::IAM_PATH),
            self.gateway.instance_profiles_under(names::IAM_PATH),
        );
        let (roles, profiles) = match found {
            Ok(found) => found,
            Err(error) if nobody(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::new(ErrorKind::Planning(error))),
        };
        let mut things = Vec::new();
        let all = roles.into_iter().map(|name| (ROLE, name));
        let all = all.chain(profiles.into_iter().map(|name| (PROFILE, name)));
        for (kind, name) in all {
            let tags = if kind == ROLE {
                self.gateway.role_tags(&name).await
            } else {
                let profile = self.gateway.instance_profile(&name).await;
                profile.map(|profile| profile.map(|profile| profile.tags))
            };
            let tags = match tags {
                Ok(Some(tags)) => tags,
                Ok(None) => continue,
                Err(error) if nobody(&error) => continue,
                Err(error) => return Err(Error::new(ErrorKind::Planning(error))),
            };
            if ours.iter().all(|one| one.holds(&tags)) {
                things.push(Thing {
                    kind,
                    id: name.clone(),
                    name,
                    tags,
                });
            }
        }
        Ok(things)
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
            thing.enter(&ledger)?;
        }
        self.undo(bake, &Saga::new(ledger), &|_| true, reason).await;
        Ok(())
    }
}

impl Sweep<'_> {
    /// Writes into the ledger of a dead bake what carries its tags and is not in it:
    /// a damaged disk can have lost lines. Undone together, what depends on what is
    /// no matter.
    pub(super) async fn complete(&self, bake: &BakeId, ledger: &Ledger) -> Result<(), Error> {
        let fold = ledger.fold();
        if fold.closing().is_some() {
            return Ok(());
        }
        let known: BTreeSet<String> = fold
            .effects()
            .iter()
            .flat_map(|effect| [id(effect), effects_name(effect)])
            .flatten()
            .collect();
        for thing in self
            .things(&[TagMatch::is(names::BAKE, bake.as_str())])
            .await?
        {
            let is_product = thing.kind == IMAGE && fold.is_past_return();
            if !is_product && !known.contains(&thing.id) && !known.contains(&thing.name) {
                thing.enter(ledger)?;
            }
        }
        Ok(())
    }
}

/// The unique name or the client token that an effect was intended with.
fn effects_name(effect: &Effect) -> Option<String> {
    let of = |key: &str| effect.intent.get(key)?.as_str().map(str::to_owned);
    of("name").or_else(|| of("client_token"))
}

impl Thing {
    /// As an effect that has happened.
    fn enter(self, ledger: &Ledger) -> Result<(), Error> {
        let effect = EffectId::new(format!("{}-{}", self.kind, self.id));
        let step = self.tags.get(names::STEP).unwrap_or_default().to_owned();
        let Intent { kind, intent, .. } = match self.kind {
            INSTANCE => intent(
                effect.clone(),
                INSTANCE,
                &InstanceIntent {
                    step,
                    client_token: self.name,
                    instance_type: String::new(),
                    subnet: String::new(),
                },
            ),
            kind => NamedIntent::intent(effect.clone(), kind, &self.name, &step),
        };
        let made = serde_json::to_value(Made { id: self.id }).unwrap_or_default();
        ledger.append(Body::Intent {
            effect: effect.clone(),
            kind,
            intent,
        })?;
        ledger.append(Body::Done { effect, done: made })?;
        Ok(())
    }
}
