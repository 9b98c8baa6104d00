//! Phase 6: what the recipe asserts about the builder, and what is installed.

use forno_guest::Package;

use super::connect::{Connected, raced};
use super::context::Context;
use super::guest_steps::{check as translate, of_step};
use super::provision::run;
use crate::plan::ids;
use crate::{Error, ErrorKind, folder};

/// All of them, also after one that fails: who mends a recipe wants to know
/// everything that is wrong.
pub(super) async fn check(ctx: &Context, builder: &Connected) -> Result<(), Error> {
    let mut failure = None;
    for (index, one) in ctx.prepared.recipe.checks.iter().enumerate() {
        let failed = |error| ErrorKind::Check {
            what: "check",
            name: one.name.clone(),
            error,
        };
        let id = ids::check(index);
        if ctx.has_passed(&id, &builder.machine.effect) {
            continue;
        }
        match run(ctx, builder, &id, &translate(one), failed).await {
            Ok(_) => ctx.pass(&id, &builder.machine.effect).await?,
            Err(error) if matches!(error.kind, ErrorKind::Check { .. }) => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

pub(super) async fn inventory(ctx: &Context, builder: &Connected) -> Result<Vec<Package>, Error> {
    let step = ids::inventory();
    let on = &builder.machine.effect;
    if ctx.has_passed(&step, on)
        && let Some(packages) = listed(ctx)
    {
        return Ok(packages);
    }
    let work = async {
        builder
            .guest
            .packages(&ctx.guest(&step))
            .await
            .map_err(|error| {
                of_step(&error, |error| ErrorKind::Step {
                    step: "list the packages".to_owned(),
                    error,
                })
            })
    };
    let packages = ctx
        .step(&step, raced(ctx, &step, &builder.machine, work))
        .await?;
    folder::write_json(&folder::packages(&ctx.folder), &packages)
        .map_err(Error::io("write what is installed"))?;
    if !ctx.has_passed(&step, on) {
        ctx.pass(&step, on).await?;
    }
    Ok(packages)
}

/// As it was listed before, by whichever process.
pub(super) fn listed(ctx: &Context) -> Option<Vec<Package>> {
    let bytes = fs_err::read(folder::packages(&ctx.folder)).ok()?;
    serde_json::from_slice(&bytes).ok()
}
