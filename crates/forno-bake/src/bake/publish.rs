//! Phase 10: what is finished goes where the recipe says, and to whom.
//!
//! After the mark of a finished image, so that nobody gets one that still could be
//! undone; of each region first the copy, then its mark, and those who may use it last.
//! Every call can be made again, and what a region has already is not made twice, so a
//! process that takes the bake up does what is left. A region that fails stops no other.

use std::collections::BTreeMap;
use std::time::Duration;

use forno_aws::{Gateway, Image, Kind, LaunchPermissions, Wait};
use forno_events::{Emitter, Event, StepId};
use forno_recipe::{DeregistrationProtection, ImdsSupport, Publish};
use forno_saga::{Fold, Ladder, Phase, Rung, Saga};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::context::{Context, heard, of_wait};
use super::copy::Copies;
use super::effects::{self, COPY};
use super::run::mark_finished;
use crate::plan::{Saved, ids};
use crate::{Error, ErrorKind, ExitCode, Settings};

/// For the calls of one region together.
const LIMIT: Duration = Duration::from_mins(5);

/// As a step of the bake.
pub(super) async fn publish(ctx: &Context, image: &Image) -> Result<(), Error> {
    let saved = ctx.prepared.save();
    let publication = Publication {
        saga: &ctx.saga,
        home: &ctx.gateway,
        saved: &saved,
        settings: &ctx.settings,
        ladder: &ctx.ladder,
        listener: Some(&ctx.emitter),
        step: ids::publish(),
    };
    let step = ids::publish();
    ctx.step(&step, publication.make(image)).await
}

/// Where the copies of a bake are: their ids by region.
pub(crate) fn copies(fold: &Fold) -> BTreeMap<String, String> {
    let kept = |effect: &&forno_saga::Effect| effect.kind == COPY && effect.phase == Phase::Kept;
    let of = fold.effects().iter().filter(kept);
    of.filter_map(|effect| Some((effects::region(effect)?, effects::id(effect)?)))
        .collect()
}

/// Whether everything is where the recipe wants it.
pub(crate) fn lacks_copies(fold: &Fold, wanted: &Publish, home: &str) -> bool {
    let there = copies(fold);
    let mut regions = wanted.regions.iter().filter(|region| *region != home);
    regions.any(|region| !there.contains_key(region))
}

/// The publishing of one image, by whichever process.
pub(crate) struct Publication<'a> {
    pub(crate) saga: &'a Saga,
    pub(crate) home: &'a Gateway,
    pub(crate) saved: &'a Saved,
    pub(crate) settings: &'a Settings,
    pub(crate) ladder: &'a Ladder,
    /// Who hears of the copies that are made. Without one none is: only what is there
    /// is marked and handed on.
    pub(crate) listener: Option<&'a Emitter>,
    pub(crate) step: StepId,
}

impl Publication<'_> {
    pub(crate) async fn make(&self, image: &Image) -> Result<(), Error> {
        let home = self.home.region();
        let regions = self.saved.publish.regions.iter();
        let elsewhere = regions.filter(|region| *region != home);
        let copies = Copies::new(self, image);
        let (at_home, others) = tokio::join!(
            self.hand_on(self.home, image),
            futures::future::join_all(elsewhere.map(|region| self.in_region(region, &copies))),
        );
        let failed: Vec<Error> = std::iter::once(at_home)
            .chain(others)
            .filter_map(Result::err)
            .collect();
        let Some(first) = failed.first() else {
            return Ok(());
        };
        let again = format!("`forno resume {}` does what is left", self.saved.bake);
        let hint = match first.hint() {
            Some(hint) => format!("{hint}; {again}"),
            None => again,
        };
        if let Some(stopped) = failed
            .iter()
            .find(|error| error.exit_code() == ExitCode::Interrupted)
        {
            return Err(Error::cancelled(stopped.to_string()).with_hint(hint));
        }
        let why: Vec<String> = failed.iter().map(ToString::to_string).collect();
        Err(Error::new(ErrorKind::Publish(format!(
            "{} is finished, and not published: {}",
            image.id,
            why.join("; ")
        )))
        .with_hint(hint))
    }

    /// The copy, its mark, and who may use it.
    async fn in_region(&self, region: &str, copies: &Copies<'_>) -> Result<(), Error> {
        let there = self.home.in_region(region);
        let Some((effect, copy)) = copies.make(&there).await? else {
            return Ok(());
        };
        if let Some(effect) = effect {
            self.saga.keep(vec![effect]).await?;
        }
        self.all(&there, "the copy to be marked", &copy, || {
            mark_finished(&there, &copy)
        })
        .await?;
        self.hand_on(&there, &copy).await
    }

    async fn hand_on(&self, there: &Gateway, image: &Image) -> Result<(), Error> {
        let (wanted, begun) = (&self.saved.publish, self.saved.started);
        self.all(there, "the image to be published", image, || {
            apply(there, image, wanted, begun)
        })
        .await
    }

    /// Not cancelled by anything but impatience: half of this is worse than either end.
    async fn all<F>(
        &self,
        there: &Gateway,
        what: &str,
        image: &Image,
        work: impl Fn() -> F + Send + Sync,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), forno_aws::Error>> + Send,
    {
        let wait = self
            .wait(what, LIMIT, CancellationToken::new())
            .of(&image.id);
        let failed = |text: String| ErrorKind::Publish(format!("{}: {text}", there.region()));
        tokio::select! {
            done = wait.while_refused(may_pass, work) => done.map_err(|error| of_wait(&error, failed)),
            () = self.ladder.reached(Rung::GiveUp) => Err(Error::new(failed("given up".to_owned()))),
        }
    }

    pub(super) fn wait<'w>(
        &'w self,
        what: &str,
        limit: Duration,
        cancel: CancellationToken,
    ) -> Wait<'w> {
        Wait::new(what, limit)
            .every(self.settings.poll)
            .beat(self.settings.heartbeat)
            .cancelled_by(cancel)
            .on_heartbeat(move |beat| self.emit(heard(&self.step, beat)))
    }

    pub(super) fn emit(&self, event: Event) {
        if let Some(listener) = self.listener {
            listener.emit(event);
        }
    }
}

fn may_pass(error: &forno_aws::Error) -> bool {
    matches!(error.kind(), Kind::NotFound | Kind::Busy)
        || error.kind().is_transient()
        || error.outcome() == forno_aws::Outcome::Unknown
}

/// How machines of an image begin, who may use it and for how long; periods begin at `begun`.
async fn apply(
    gateway: &Gateway,
    image: &Image,
    wanted: &Publish,
    begun: Timestamp,
) -> Result<(), forno_aws::Error> {
    if let Some(after) = wanted.deprecate_in {
        // Of a bake that is taken up so late that the time is over nobody shall
        // find the image; EC2 wants a time to come.
        let soonest = Timestamp::now() + Duration::from_mins(2);
        let at = begun.checked_add(after.get()).unwrap_or(Timestamp::MAX);
        gateway.deprecate_image(&image.id, at.max(soonest)).await?;
    }
    if wanted.imds_support == Some(ImdsSupport::V2) {
        gateway.require_imds_v2(&image.id).await?;
    }
    if let Some(protection) = wanted.deregistration_protection {
        let with_cooldown = protection == DeregistrationProtection::WithCooldown;
        gateway.protect_image(&image.id, with_cooldown).await?;
    }
    if wanted.share_snapshots || wanted.public_snapshots {
        let accounts: &[String] = if wanted.share_snapshots {
            &wanted.accounts
        } else {
            &[]
        };
        for snapshot in image.snapshots() {
            let public = wanted.public_snapshots;
            gateway.share_snapshot(snapshot, accounts, public).await?;
        }
    }
    if wanted.is_shared() {
        let with = LaunchPermissions {
            accounts: wanted.accounts.clone(),
            organizations: wanted.organizations.clone(),
            organizational_units: wanted.organizational_units.clone(),
            public: wanted.public,
        };
        gateway.share_image(&image.id, &with).await?;
    }
    Ok(())
}
