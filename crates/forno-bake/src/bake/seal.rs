//! Phase 7: the builder forgets what is its own or ours.

use forno_events::Severity;
use forno_guest::SealOptions;
use forno_link::Link as _;

use super::connect::{Connected, raced};
use super::context::Context;
use super::guest_steps::of_step;
use super::key_pair::Key;
use crate::plan::ids;
use crate::{Error, ErrorKind};

pub(super) async fn seal(ctx: &Context, builder: &Connected, key: &Key) -> Result<(), Error> {
    let step = ids::seal();
    let options = SealOptions {
        key_blobs: vec![key.identity.public_blob()],
        secrets: ctx
            .prepared
            .recipe
            .secrets()
            .map(|(_, secret)| secret.clone())
            .collect(),
        ..SealOptions::default()
    };
    let work = async {
        builder
            .guest
            .seal(&options, &ctx.guest(&step))
            .await
            .map_err(|error| of_step(&error, ErrorKind::Seal))
    };
    let report = ctx
        .step(&step, raced(ctx, &step, &builder.machine, work))
        .await?;
    for warning in report.warnings {
        ctx.note(Severity::Warning, warning);
    }
    builder.link.close().await;
    super::connect::forget(ctx);
    Ok(())
}
