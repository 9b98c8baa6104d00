//! What dead bakes left behind: found, and removed by the same undo that a living
//! bake ends with.
//!
//! Two ways lead to it. A bake of this machine whose process is gone has a ledger
//! and is taken up at once ([`dead`]). What other machines left is known by its tags
//! alone, and only once its time is over ([`tagged`]): until then its bake may live.
//! What is spared, and why, is decided in one place ([`judge`]). Things of Packer are
//! looked for on request ([`packer`]).

mod dead;
mod judge;
mod packer;
mod tagged;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forno_aws::{Gateway, Kind};
use forno_events::{BakeId, Emitter};
use forno_saga::{Effect, Ladder, Rung, Saga, Undo, UndoEvent, UndoReport, Unreleased};
use jiff::Timestamp;
use serde::Serialize;

use crate::bake::{CloudUndo, PlaceOf, resource};
use crate::{BakeFolder, Bakes, Engine, Error, ErrorKind, ExitCode, Settings};

#[derive(Clone, Debug, Default)]
pub struct SweepOptions {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Spare the bakes that began less than this long ago.
    pub older_than: Option<Duration>,
    /// Look for what Packer left too, and ask here about each. It is spared when it
    /// is younger than `older_than`, or a day.
    pub packer: Option<Arc<dyn Consent>>,
}

impl fmt::Debug for dyn Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consent")
    }
}

/// Asked before something goes of which nobody can know that it is not in use.
#[async_trait]
pub trait Consent: Send + Sync {
    async fn agrees(&self, found: &Found) -> bool;
}

/// Everything of dead bakes, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    pub found: Vec<Found>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    pub bake: String,
    /// In EC2's words, or `ledger` for a bake whose things are not known.
    pub kind: String,
    pub id: String,
    pub region: String,
    /// Why it counts as left behind.
    pub reason: String,
    #[serde(flatten)]
    pub fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum Fate {
    Removed,
    WouldBeRemoved,
    /// A proven image whose bake died before it could say so.
    Finished,
    WouldBeFinished,
    Spared {
        why: String,
    },
    /// Could not be removed; `command` does or looks for it by hand.
    Left {
        error: String,
        command: String,
    },
    /// A whole region: what is in it is not known.
    NotLookedAt {
        error: String,
        /// By a policy or a missing permission, not by a failure.
        forbidden: bool,
    },
}

impl Found {
    fn key(&self) -> (&str, &str, &str) {
        (&self.bake, &self.kind, &self.id)
    }
}

impl SweepReport {
    /// Of several regions: what one sweep spared because it lies elsewhere is told
    /// only where no other has settled it.
    pub fn merge(reports: impl IntoIterator<Item = Self>) -> Self {
        let mut found: Vec<Found> = reports
            .into_iter()
            .flat_map(|report| report.found)
            .collect();
        let is_spared = |found: &Found| matches!(found.fate, Fate::Spared { .. });
        found.sort_by(|a, b| (a.key(), is_spared(a)).cmp(&(b.key(), is_spared(b))));
        found.dedup_by(|later, first| later.key() == first.key());
        Self { found }
    }

    /// A region that could not be looked at.
    pub fn not_looked_at(region: &str, error: &Error) -> Self {
        let forbidden = match &error.kind {
            ErrorKind::Planning(error) => {
                matches!(error.kind(), Kind::Unauthorized | Kind::Credentials)
            }
            _ => false,
        };
        let found = Found {
            bake: String::new(),
            kind: "region".to_owned(),
            id: region.to_owned(),
            region: region.to_owned(),
            reason: String::new(),
            fate: Fate::NotLookedAt {
                error: error.to_string(),
                forbidden,
            },
        };
        Self { found: vec![found] }
    }

    pub fn exit_code(&self) -> ExitCode {
        let any = |fate: fn(&Fate) -> bool| self.found.iter().any(|found| fate(&found.fate));
        if any(|fate| matches!(fate, Fate::Left { .. })) {
            ExitCode::LeftBehind
        } else if any(|fate| matches!(fate, Fate::NotLookedAt { .. })) {
            ExitCode::Preflight
        } else {
            ExitCode::Done
        }
    }

    /// As [`exit_code`](Self::exit_code), for a look around all regions: those that
    /// this account may not enter hold nothing of it, as long as it may enter one.
    pub fn exit_code_of_all(&self, regions: usize) -> ExitCode {
        let is_forbidden = |found: &&Found| {
            matches!(
                found.fate,
                Fate::NotLookedAt {
                    forbidden: true,
                    ..
                }
            )
        };
        let forbidden = self.found.iter().filter(is_forbidden).count();
        if forbidden == regions {
            return self.exit_code();
        }
        let found = self.found.iter().filter(|found| !is_forbidden(found));
        Self {
            found: found.cloned().collect(),
        }
        .exit_code()
    }
}

/// A sweep of one region of one account.
struct Sweep<'a> {
    gateway: &'a Gateway,
    settings: &'a Settings,
    ladder: &'a Ladder,
    options: SweepOptions,
    bakes: Bakes,
    here: PlaceOf,
    now: Timestamp,
    tell: &'a (dyn Fn(&str) + Send + Sync),
    /// Who hears of copies being made; nobody makes any otherwise.
    copies: Option<&'a Emitter>,
    found: Mutex<Vec<Found>>,
}

impl Engine {
    /// Looks for what dead bakes left and removes it; `tell` hears of it while it
    /// goes on. What belongs to a living bake or to a finished image stays.
    pub async fn sweep(
        &self,
        options: SweepOptions,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<SweepReport, Error> {
        let asked = tokio::select! {
            asked = self.gateway().caller_identity() => asked,
            () = self.ladder().reached(Rung::Undo) => return Ok(SweepReport::default()),
        };
        let identity = match asked {
            Ok(identity) => Some(identity),
            Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Unsupported) => None,
            Err(error) => return Err(Error::new(ErrorKind::Planning(error))),
        };
        let consent = options.packer.clone();
        let sweep = Sweep {
            gateway: self.gateway(),
            settings: self.settings(),
            ladder: self.ladder(),
            options,
            bakes: Bakes::under(&self.settings().home),
            here: PlaceOf::new(self.gateway(), identity.as_ref()),
            now: Timestamp::now(),
            tell,
            copies: None,
            found: Mutex::default(),
        };
        let known = Box::pin(sweep.dead()).await?;
        Box::pin(sweep.tagged(&known)).await?;
        if let Some(consent) = consent {
            Box::pin(sweep.packer(&*consent)).await?;
        }
        let found = std::mem::take(&mut *sweep.found());
        Ok(SweepReport::merge([SweepReport { found }]))
    }
}

impl Engine {
    /// Brings one dead bake to its end, as a sweep does.
    pub(crate) async fn adopt(
        &self,
        folder: &BakeFolder,
        saga: Saga,
        here: PlaceOf,
        emitter: &Emitter,
    ) -> Result<Vec<Found>, Error> {
        let sweep = Sweep {
            gateway: self.gateway(),
            settings: self.settings(),
            ladder: self.ladder(),
            options: SweepOptions::default(),
            bakes: Bakes::under(&self.settings().home),
            here,
            now: Timestamp::now(),
            tell: &|_| {},
            copies: Some(emitter),
            found: Mutex::default(),
        };
        Box::pin(sweep.adopt(folder, saga, false)).await?;
        let found = std::mem::take(&mut *sweep.found());
        Ok(found)
    }
}

/// The bakes that have a sound ledger on this machine.
type Known = BTreeMap<BakeId, Standing>;

/// What is known of a bake without asking its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It lives, or it is not to be touched now.
    Untouched,
    /// It is over and its ledger has been heeded. Whatever else carries its tags, from
    /// lines that a damaged disk has lost, belongs to nobody.
    Over { image_stays: bool },
}

impl Sweep<'_> {
    fn found(&self) -> std::sync::MutexGuard<'_, Vec<Found>> {
        self.found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note(&self, bake: &str, kind: &str, id: &str, reason: &str, fate: Fate) {
        self.note_in(&self.here.region, bake, kind, id, reason, fate);
    }

    fn note_in(&self, region: &str, bake: &str, kind: &str, id: &str, reason: &str, fate: Fate) {
        self.found().push(Found {
            bake: bake.to_owned(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            region: region.to_owned(),
            reason: reason.to_owned(),
            fate,
        });
    }

    fn note_effect(&self, bake: &BakeId, effect: &Effect, reason: &str, fate: Fate) {
        self.note_named(bake.as_str(), effect, reason, fate);
    }

    fn note_named(&self, bake: &str, effect: &Effect, reason: &str, fate: Fate) {
        let resource = resource(effect, &self.here.region);
        self.note_in(
            &resource.region,
            bake,
            &resource.kind,
            &resource.id,
            reason,
            fate,
        );
    }

    fn too_young(&self, bake: &BakeId) -> Option<String> {
        let judge = judge::Judge {
            known: &Known::new(),
            now: self.now,
            older_than: self.options.older_than,
        };
        judge.too_young(bake)
    }

    /// After the first signal nothing more is begun; what is being removed is seen
    /// through, or hurried by the second.
    fn is_stopped(&self) -> bool {
        self.ladder.rung() > Rung::Running
    }

    /// A look, given up at the first signal.
    async fn unless_stopped<T>(
        &self,
        look: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Error> {
        tokio::select! {
            biased;
            () = self.ladder.reached(Rung::Undo) => Ok(None),
            seen = look => seen.map(Some),
        }
    }

    /// Removes what `saga` holds, is not kept and `goes`, and notes what became of it.
    async fn undo(
        &self,
        bake: &BakeId,
        saga: &Saga,
        goes: &(dyn Fn(&Effect) -> bool + Sync),
        reason: &str,
    ) -> Vec<Unreleased> {
        let undo = CloudUndo::new(self.gateway.clone(), bake.clone());
        self.undo_by(&undo, bake.as_str(), saga, goes, &|_| reason.to_owned())
            .await
    }

    async fn undo_by(
        &self,
        undo: &dyn Undo,
        bake: &str,
        saga: &Saga,
        goes: &(dyn Fn(&Effect) -> bool + Sync),
        reason: &(dyn Fn(&Effect) -> String + Sync),
    ) -> Vec<Unreleased> {
        let going = saga
            .ledger()
            .fold()
            .unreleased()
            .filter(|effect| goes(effect))
            .map(|effect| effect.id.clone())
            .collect();
        let name = |effect: &Effect| {
            let resource = resource(effect, &self.here.region);
            format!("{} {} of {bake}", resource.kind, resource.id)
        };
        let heard = Mutex::new(BTreeSet::new());
        let observe = |event: UndoEvent<'_>| match event {
            UndoEvent::Started(effect) => (self.tell)(&format!("removing {}", name(effect))),
            UndoEvent::Waiting { effect, state, .. } => {
                let told = (effect.id.clone(), state.to_owned());
                if heard.lock().is_ok_and(|mut heard| heard.insert(told)) {
                    (self.tell)(&format!("waiting for {}: {state}", name(effect)));
                }
            }
            UndoEvent::Released(_) | UndoEvent::Stuck(_) => {}
        };
        let UndoReport {
            released,
            unreleased,
            ledger_errors,
        } = saga
            .undoing(undo, self.settings.undo, self.ladder, &observe)
            .only(going)
            .await;
        for error in ledger_errors {
            (self.tell)(&format!("{bake}: the removal is not recorded: {error}"));
        }
        for effect in &released {
            self.note_named(bake, effect, &reason(effect), Fate::Removed);
        }
        for left in &unreleased {
            let fate = Fate::Left {
                error: left.failure.to_string(),
                command: left.command.clone(),
            };
            self.note_named(bake, &left.effect, &reason(&left.effect), fate);
        }
        unreleased
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, fate: Fate) -> Found {
        Found {
            bake: "base-1".into(),
            kind: "key-pair".into(),
            id: id.into(),
            region: "us-east-1".into(),
            reason: "test".into(),
            fate,
        }
    }

    #[test]
    fn what_another_region_settled_is_told_once() {
        let spared = Fate::Spared {
            why: "elsewhere".into(),
        };
        let here = SweepReport {
            found: vec![found("a", spared.clone()), found("b", spared.clone())],
        };
        let there = SweepReport {
            found: vec![found("a", Fate::Removed), found("b", spared.clone())],
        };
        let both = SweepReport::merge([here, there]);
        assert_eq!(both.found, [found("a", Fate::Removed), found("b", spared)]);
        assert_eq!(both.exit_code(), ExitCode::Done);
        let left = Fate::Left {
            error: "no".into(),
            command: "aws".into(),
        };
        let left = SweepReport {
            found: vec![found("a", left)],
        };
        assert_eq!(
            SweepReport::merge([left, both]).exit_code(),
            ExitCode::LeftBehind
        );
    }
}
