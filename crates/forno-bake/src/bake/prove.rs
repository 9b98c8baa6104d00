//! Phase 9: a machine from the new image, as production would start one, and
//! the recipe's tests on it.

use forno_aws::{Image, SecurityGroupId};

use super::connect::connect;
use super::context::Context;
use super::door::Door;
use super::effects::is_numbered;
use super::guest_steps::test as translate;
use super::key_pair;
use super::machine::{self, Running, Wanted, launch};
use super::provision::run;
use super::teardown;
use crate::plan::ids;
use crate::{Error, ErrorKind};

const ROLE: &str = "test-machine";
const KEY_ROLE: &str = "test-key-pair";

/// Boots, answers, and passes all tests; or says what fails.
pub(super) async fn prove(
    ctx: &Context,
    image: &Image,
    groups: &[SecurityGroupId],
) -> Result<(), Error> {
    let step = ids::prover();
    retire(ctx).await;
    let mut made = None;
    loop {
        let (door, running) = ctx
            .step(&step, async {
                // A key of its own: the builder's must not open the image's machines.
                let door = match made.take() {
                    Some(door) => door,
                    None => Door::make(ctx, KEY_ROLE).await?,
                };
                let wanted = Wanted {
                    role: ROLE,
                    image,
                    places: &ctx.prepared.prove_places,
                    groups,
                    door: &door,
                    user_data: ctx.prepared.prove_user_data.as_deref(),
                };
                let running = launch(ctx, &step, &wanted).await?;
                Ok((door, running))
            })
            .await?;
        let effect = running.effect.clone();
        match test(ctx, running, &door).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let places = &ctx.prepared.prove_places;
                machine::lost(ctx, ROLE, places, &effect, error).await?;
            }
        }
        made = Some(door);
    }
}

/// A machine that another process has started for it is not gone on with: its key
/// was that one's alone.
async fn retire(ctx: &Context) {
    super::runs::forget_all(ctx);
    let fold = ctx.saga.ledger().fold();
    let machines = fold
        .effects()
        .iter()
        .filter(|effect| is_numbered(effect.id.as_str(), ROLE));
    for effect in machines.chain(key_pair::of_role(&fold, KEY_ROLE)) {
        if effect.is_unreleased() {
            teardown::begin(ctx, &effect.id).await;
        }
    }
}

async fn test(ctx: &Context, running: Running, door: &Door) -> Result<(), Error> {
    let effect = running.effect.clone();
    let machine = connect(ctx, &ids::prover_connect(), running, door).await?;
    let mut failure = None;
    for (index, one) in ctx.prepared.recipe.tests.iter().enumerate() {
        let failed = |error| ErrorKind::Check {
            what: "test",
            name: one.name.clone(),
            error,
        };
        match run(ctx, &machine, &ids::test(index), &translate(one), failed).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind, ErrorKind::Check { .. }) => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    // A machine that failed a test is worth a look.
    if failure.is_none() {
        machine.link.close().await;
        super::connect::forget(ctx);
        teardown::begin(ctx, &effect).await;
    }
    failure.map_or(Ok(()), Err)
}
