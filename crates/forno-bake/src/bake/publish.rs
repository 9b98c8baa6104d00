//! Phase 10: what is finished is handed to those whom the recipe names.
//!
//! After the mark of a finished image, so that nobody gets one that still could be
//! undone. Every call can be made again, so a process that takes the bake up, or a
//! sweep, simply does it all.

use std::time::Duration;

use forno_aws::{Gateway, Image, Kind, LaunchPermissions};
use forno_recipe::{DeregistrationProtection, Publish};
use forno_saga::Rung;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::context::{Context, of_wait};
use crate::plan::ids;
use crate::{Error, ErrorKind};

/// For all of it together.
const LIMIT: Duration = Duration::from_mins(5);

/// As a step of the bake.
pub(super) async fn publish(ctx: &Context, image: &Image) -> Result<(), Error> {
    let wanted = &ctx.prepared.recipe.publish;
    let step = ids::publish();
    ctx.step(&step, async {
        // As little to be stopped half-way as the mark before it.
        let wait = ctx
            .wait(&step, "the image to be published", LIMIT)
            .of(&image.id)
            .cancelled_by(CancellationToken::new());
        let publishing = wait.while_refused(may_pass, || {
            apply(&ctx.gateway, image, wanted, ctx.prepared.started)
        });
        tokio::select! {
            published = publishing => published.map_err(|error| of_wait(&error, |text| failed(image, &text))),
            () = ctx.ladder.reached(Rung::GiveUp) => Err(Error::new(failed(image, "given up"))),
        }
        .map_err(|error| {
            let again = format!("`forno resume {}` tries it again", ctx.prepared.bake);
            match error.hint() {
                Some(hint) => error.with_hint(format!("{hint}; {again}")),
                None => error.with_hint(again),
            }
        })
    })
    .await
}

fn failed(image: &Image, why: &str) -> ErrorKind {
    ErrorKind::Publish(format!(
        "{} is finished, and not published: {why}",
        image.id
    ))
}

fn may_pass(error: &forno_aws::Error) -> bool {
    matches!(error.kind(), Kind::NotFound | Kind::Busy)
        || error.kind().is_transient()
        || error.outcome() == forno_aws::Outcome::Unknown
}

/// The calls themselves; periods begin at `begun`.
pub(crate) async fn apply(
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
    if let Some(protection) = wanted.deregistration_protection {
        let with_cooldown = protection == DeregistrationProtection::WithCooldown;
        gateway.protect_image(&image.id, with_cooldown).await?;
    }
    if wanted.share_snapshots {
        for snapshot in image.snapshots() {
            gateway.share_snapshot(snapshot, &wanted.accounts).await?;
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
