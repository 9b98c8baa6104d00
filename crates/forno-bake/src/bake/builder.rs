//! Phase 3: the builder.

use forno_aws::SecurityGroupId;

use super::context::Context;
use super::door::Door;
use super::machine::{Running, Wanted, launch};
use crate::Error;
use crate::plan::ids;

pub(super) const ROLE: &str = "builder";

pub(super) async fn start(
    ctx: &Context,
    door: &Door,
    groups: &[SecurityGroupId],
) -> Result<Running, Error> {
    let step = ids::builder();
    let wanted = Wanted {
        role: ROLE,
        image: &ctx.prepared.source,
        places: &ctx.prepared.places,
        groups,
        door,
        user_data: ctx.prepared.user_data.as_deref(),
    };
    ctx.step(&step, launch(ctx, &step, &wanted)).await
}
