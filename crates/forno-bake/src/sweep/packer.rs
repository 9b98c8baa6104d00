//! What killed builds of Packer left behind: temporary key pairs, security groups and
//! builders, known by Packer's own names.
//!
//! Packer tags nothing, but its names tell when they were made: `packer_` and a UUID
//! whose first 32 bits are the seconds of the Unix time. A build may be running, and
//! nobody can ask it; so only what is old goes, and only what somebody agrees to.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use forno_aws::{Gateway, Instance, InstanceId, InstanceState, Kind, SecurityGroupId, Tags};
use forno_events::BakeId;
use forno_saga::{Attempt, Body, Effect, EffectId, Failure, Ledger, Saga, Undo};
use jiff::Timestamp;

use super::judge::Judge;
use super::{Consent, Fate, Found, Known, Sweep};
use crate::bake::{INSTANCE, KEY_PAIR, Made, NamedIntent, SECURITY_GROUP, command};
use crate::{Error, ErrorKind, names};

/// Stands where a bake's name stands otherwise.
const PACKER: &str = "packer";
const LIKE: &str = "packer_*";
const BUILDER: &str = "Packer Builder";

/// When Packer made the thing of this name; `None` where the name is not Packer's.
///
/// A UUID of another sort has another time in it: what lies before Packer's first
/// release is none of its times.
fn made_at(name: &str) -> Option<Timestamp> {
    const FIRST_RELEASE: i64 = 1_370_044_800; // 2013-06-01
    let uuid = name.strip_prefix("packer_")?;
    let groups: Vec<&str> = uuid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hex = |group: &&str| {
        group
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(is_hex) {
        return None;
    }
    let seconds = i64::from_str_radix(groups.first()?, 16).ok()?;
    Timestamp::from_second(seconds)
        .ok()
        .filter(|_| seconds >= FIRST_RELEASE)
}

/// A thing that Packer may have left.
struct Leftover {
    kind: &'static str,
    id: String,
    made: Option<Timestamp>,
    /// Living machines that use it.
    users: BTreeSet<InstanceId>,
}

impl Sweep<'_> {
    pub(super) async fn packer(&self, consent: &dyn Consent) -> Result<(), Error> {
        let Some(leftovers) = self.unless_stopped(self.leftovers()).await? else {
            return Ok(());
        };
        let known = Known::new();
        let judge = Judge {
            known: &known,
            now: self.now,
            older_than: self.options.older_than,
        };
        // Machines come first: whether the rest is in use depends on what becomes of them.
        let mut going: BTreeSet<InstanceId> = BTreeSet::new();
        let mut agreed: Vec<(Leftover, String)> = Vec::new();
        for leftover in leftovers {
            if self.is_stopped() {
                return Ok(());
            }
            let users: Vec<String> = leftover
                .users
                .difference(&going)
                .map(ToString::to_string)
                .collect();
            let reason = match judge.of_packer(leftover.made, &users) {
                Ok(reason) => reason,
                Err(why) => {
                    self.note_leftover(&leftover, "its name is Packer's", Fate::Spared { why });
                    continue;
                }
            };
            let fate = if self.options.dry_run {
                Fate::WouldBeRemoved
            } else if self.is_agreed(consent, &leftover, &reason).await {
                Fate::Removed
            } else {
                Fate::Spared {
                    why: "nobody agreed to its removal".to_owned(),
                }
            };
            if !matches!(fate, Fate::Spared { .. })
                && let Ok(id) = InstanceId::new(leftover.id.as_str())
            {
                going.insert(id);
            }
            match fate {
                Fate::Removed => agreed.push((leftover, reason)),
                fate => self.note_leftover(&leftover, &reason, fate),
            }
        }
        if agreed.is_empty() {
            return Ok(());
        }
        self.remove_leftovers(agreed).await
    }

    fn note_leftover(&self, leftover: &Leftover, reason: &str, fate: Fate) {
        self.note(PACKER, leftover.kind, &leftover.id, reason, fate);
    }

    async fn is_agreed(&self, consent: &dyn Consent, leftover: &Leftover, reason: &str) -> bool {
        let found = Found {
            bake: PACKER.to_owned(),
            kind: leftover.kind.to_owned(),
            id: leftover.id.clone(),
            region: self.here.region.clone(),
            reason: reason.to_owned(),
            fate: Fate::WouldBeRemoved,
        };
        matches!(
            self.unless_stopped(async { Ok(consent.agrees(&found).await) })
                .await,
            Ok(Some(true))
        )
    }

    /// Builders, then groups, then key pairs: in the order of their removal.
    async fn leftovers(&self) -> Result<Vec<Leftover>, Error> {
        let named = [forno_aws::TagMatch::is("Name", BUILDER)];
        let (keys, groups, by_name, by_key) = tokio::try_join!(
            self.gateway.key_pairs_like(LIKE),
            self.gateway.security_groups_like(LIKE),
            self.gateway.instances_tagged(&named),
            self.gateway.instances_of_keys_like(LIKE),
        )
        .map_err(ErrorKind::Planning)?;
        let groups: Vec<_> = groups
            .into_iter()
            .filter_map(|group| Some((group.id, made_at(&group.name)?)))
            .collect();
        let ids: Vec<SecurityGroupId> = groups.iter().map(|(id, _)| id.clone()).collect();
        let in_groups = self
            .gateway
            .instances_of_groups(&ids)
            .await
            .map_err(ErrorKind::Planning)?;
        let is_living = |machine: &&Instance| machine.state != InstanceState::Terminated;

        let mut leftovers = Vec::new();
        let mut seen = BTreeSet::new();
        for builder in by_name.iter().chain(&by_key).filter(is_living) {
            let by_key = builder.key_name.as_deref().and_then(made_at);
            let is_packers = by_key.is_some() || builder.tags.get("Name") == Some(BUILDER);
            if is_packers && !is_fornos(&builder.tags) && seen.insert(builder.id.clone()) {
                leftovers.push(Leftover {
                    kind: INSTANCE,
                    id: builder.id.to_string(),
                    // A machine that was stopped and started is older than its launch.
                    made: by_key.or(builder.launched),
                    users: BTreeSet::new(),
                });
            }
        }
        leftovers.extend(groups.into_iter().map(|(id, made)| {
            let holds = |machine: &&Instance| machine.security_groups.contains(&id);
            let users = in_groups.iter().filter(is_living).filter(holds);
            Leftover {
                kind: SECURITY_GROUP,
                users: users.map(|machine| machine.id.clone()).collect(),
                id: id.to_string(),
                made: Some(made),
            }
        }));
        leftovers.extend(keys.into_iter().filter_map(|key| {
            let opens = |machine: &&Instance| machine.key_name.as_deref() == Some(&key.name);
            let users = by_key.iter().filter(is_living).filter(opens);
            Some(Leftover {
                kind: KEY_PAIR,
                made: Some(made_at(&key.name)?),
                users: users.map(|machine| machine.id.clone()).collect(),
                id: key.name,
            })
        }));
        Ok(leftovers)
    }

    /// By the same undo as a bake's own things, and a ledger for the time being.
    async fn remove_leftovers(&self, agreed: Vec<(Leftover, String)>) -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(Error::io("create a temporary folder"))?;
        let bake = BakeId::new(PACKER);
        let place = serde_json::to_value(&self.here).unwrap_or_default();
        let ledger = Ledger::create(&folder.path().join(bake.as_str()), &bake, place)?;
        let mut reasons = BTreeMap::new();
        let machines_go = agreed.iter().any(|(leftover, _)| leftover.kind == INSTANCE);
        // Undone from the last on.
        for (leftover, reason) in agreed.into_iter().rev() {
            let effect = EffectId::new(format!("{}-{}", leftover.kind, leftover.id));
            let intent = NamedIntent::intent(effect.clone(), leftover.kind, &leftover.id, PACKER);
            let made = serde_json::to_value(Made { id: leftover.id }).unwrap_or_default();
            ledger.append(Body::Intent {
                effect: effect.clone(),
                kind: intent.kind,
                intent: intent.intent,
            })?;
            ledger.append(Body::Done {
                effect: effect.clone(),
                done: made,
            })?;
            reasons.insert(effect, reason);
        }
        let saga = Saga::new(ledger);
        let undo = PackerUndo {
            gateway: self.gateway.clone(),
            machines_go,
        };
        let reason = |effect: &Effect| reasons.get(&effect.id).cloned().unwrap_or_default();
        self.undo_by(&undo, PACKER, &saga, &|_| true, &reason).await;
        Ok(())
    }
}

fn is_fornos(tags: &Tags) -> bool {
    tags.get(names::BAKE).is_some()
}

/// Removes by id: there are no tags to look by, and nothing is on its way any more.
struct PackerUndo {
    gateway: Gateway,
    /// Then a group in use may be one for a moment only.
    machines_go: bool,
}

impl PackerUndo {
    async fn remove(&self, effect: &Effect) -> Result<Attempt, forno_aws::Error> {
        let id = crate::bake::id(effect).unwrap_or_default();
        let going = |state: &str| Attempt::Going {
            state: state.to_owned(),
        };
        Ok(match effect.kind.as_str() {
            INSTANCE => {
                let Ok(id) = InstanceId::new(id) else {
                    return Ok(Attempt::Gone);
                };
                let there = self.gateway.instances(std::slice::from_ref(&id)).await?;
                match there.first().map(|machine| &machine.state) {
                    None | Some(InstanceState::Terminated) => Attempt::Gone,
                    Some(InstanceState::ShuttingDown) => going("shutting-down"),
                    Some(_) => {
                        self.gateway.terminate_instance(&id, false).await?;
                        going("being terminated")
                    }
                }
            }
            SECURITY_GROUP => {
                let Ok(id) = SecurityGroupId::new(id) else {
                    return Ok(Attempt::Gone);
                };
                match self.gateway.delete_security_group(&id).await {
                    Err(error) if error.kind() == Kind::DependencyViolation && self.machines_go => {
                        going(&format!("still in use: {}", error.message()))
                    }
                    Err(error) if error.kind() != Kind::NotFound => return Err(error),
                    _ => Attempt::Gone,
                }
            }
            _ => {
                self.gateway.delete_key_pair(&id).await?;
                Attempt::Gone
            }
        })
    }
}

#[async_trait]
impl Undo for PackerUndo {
    async fn attempt(&self, effect: &Effect) -> Attempt {
        match self.remove(effect).await {
            Ok(attempt) => attempt,
            // Another sweep was quicker.
            Err(error) if error.kind() == Kind::NotFound => Attempt::Gone,
            Err(error) => {
                let failure = Failure::new(error.code().unwrap_or("no-answer"), error.to_string());
                match error.kind() {
                    Kind::Unauthorized | Kind::InvalidInput | Kind::DependencyViolation => {
                        Attempt::Refused(failure)
                    }
                    _ => Attempt::Failed(failure),
                }
            }
        }
    }

    fn command(&self, effect: &Effect) -> String {
        command(&self.gateway, effect, PACKER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_packers_own_names_have_a_time() {
        let time = |name| made_at(name).map(|at| at.to_string());
        assert_eq!(
            time("packer_5f2b7a00-1234-5678-9abc-def012345678").as_deref(),
            Some("2020-08-06T03:33:20Z")
        );
        for name in [
            "packer_builders",
            "packer-5f2b7a00-1234-5678-9abc-def012345678",
            "packer_5F2B7A00-1234-5678-9abc-def012345678",
            "packer_5f2b7a00-1234-5678-9abc-def01234567",
            "packer_5f2b7a00-1234-5678-9abc-def012345678-mine",
            "packer_5f2b7a0012345678-9abc-def012345678",
            // A time long before Packer.
            "packer_0f2b7a00-1234-5678-9abc-def012345678",
            "",
        ] {
            assert_eq!(time(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn the_time_is_the_first_eight_digits(second in 1_370_044_800_u32.., rest in "[0-9a-f]{4}(-[0-9a-f]{4}){2}-[0-9a-f]{12}") {
            let made = made_at(&format!("packer_{second:08x}-{rest}"));
            prop_assert_eq!(made, Timestamp::from_second(second.into()).ok());
        }

        #[test]
        fn any_name_is_read_or_not(name in ".{0,60}") {
            let _ = made_at(&name);
            let _ = made_at(&format!("packer_{name}"));
        }
    }
}
