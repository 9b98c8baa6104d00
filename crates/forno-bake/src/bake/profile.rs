//! A role and an instance profile for the machines of one bake.
//!
//! Role and profile are effects; what a role may do and what a profile holds goes with them.
//! Those calls come to the same however often they are made, so a lost reply costs only
//! another call.

use std::time::Duration;

use forno_aws::{Kind, NewRole, Outcome};
use forno_recipe::TemporaryProfile;
use forno_saga::EffectId;

use super::adopt::{adopt, may_be_there};
use super::context::{Context, of_wait};
use super::effects::{Made, NamedIntent, PROFILE, ROLE};
use crate::error::{ErrorKind, of_effect};
use crate::plan::ids;
use crate::{Error, names};

/// Without it an agent of Systems Manager may not speak.
const AGENTS: &str = "AmazonSSMManagedInstanceCore";

/// The name of the policy of the recipe's own.
const POLICY: &str = "forno";

/// IAM knows what it has made everywhere after some seconds.
const LIMIT: Duration = Duration::from_mins(2);

pub(super) async fn prepare(ctx: &Context) -> Result<(), Error> {
    let Some(profile) = &ctx.prepared.recipe.builder.temporary_profile else {
        return Ok(());
    };
    let step = ids::profile();
    ctx.step(&step, async {
        let name = names::profile(&ctx.prepared.bake);
        make_role(ctx, profile, &name).await?;
        make_profile(ctx, &name).await
    })
    .await
}

async fn make_role(ctx: &Context, profile: &TemporaryProfile, name: &str) -> Result<(), Error> {
    let prepared = &ctx.prepared;
    let new = NewRole {
        name: name.to_owned(),
        path: names::IAM_PATH.to_owned(),
        description: format!("of the bake {}", prepared.bake),
        permissions_boundary: profile.permissions_boundary.clone(),
        tags: prepared.tags(ROLE, name),
    };
    let gateway = ctx.gateway.clone();
    let (poll, cancel, bake) = (ctx.settings.poll, ctx.cancel.clone(), prepared.bake.clone());
    let intent = NamedIntent::intent(EffectId::new(ROLE), ROLE, name, ROLE);
    let apply = async move {
        let made = Made {
            id: new.name.clone(),
        };
        let Err(error) = gateway.create_role(&new).await else {
            return Ok(made);
        };
        let look = || async {
            let tags = gateway.role_tags(&new.name).await?;
            Ok(tags.filter(|tags| tags.get(names::BAKE) == Some(bake.as_str())))
        };
        if may_be_there(&error) && adopt(poll, &cancel, look).await.is_some() {
            return Ok(made);
        }
        Err(error)
    };
    let failed = |what| move |error| ErrorKind::Network { what, error };
    let what = failed("cannot make the role");
    ctx.effect(intent, apply)
        .await
        .map_err(|error| of_effect(error, what))?;
    ctx.created(ROLE, name);
    if let Some(policy) = &profile.policy {
        let put = || ctx.gateway.put_role_policy(name, POLICY, policy);
        surely(ctx, "the role to take its policy", put).await?;
    }
    for arn in arns(ctx, profile) {
        let attach = || ctx.gateway.attach_role_policy(name, &arn);
        surely(ctx, "the role to take a managed policy", attach).await?;
    }
    Ok(())
}

/// Those of the recipe, and what an agent needs where one is needed.
fn arns(ctx: &Context, profile: &TemporaryProfile) -> Vec<String> {
    let mut arns = profile.policy_arns.clone();
    let suffix = format!(":policy/{AGENTS}");
    if ctx.prepared.connect.needs_agent() && !arns.iter().any(|arn| arn.ends_with(&suffix)) {
        let partition = names::partition(&ctx.prepared.region);
        arns.push(format!("arn:{partition}:iam::aws{suffix}"));
    }
    arns
}

async fn make_profile(ctx: &Context, name: &str) -> Result<(), Error> {
    let tags = ctx.prepared.tags(PROFILE, name);
    let gateway = ctx.gateway.clone();
    let (poll, cancel, bake) = (
        ctx.settings.poll,
        ctx.cancel.clone(),
        ctx.prepared.bake.clone(),
    );
    let intent = NamedIntent::intent(EffectId::new(PROFILE), PROFILE, name, PROFILE);
    let apply = {
        let name = name.to_owned();
        async move {
            let made = Made { id: name.clone() };
            let created = gateway.create_instance_profile(&name, names::IAM_PATH, &tags);
            let Err(error) = created.await else {
                return Ok(made);
            };
            let look = || async {
                let there = gateway.instance_profile(&name).await?;
                Ok(there.filter(|one| one.tags.get(names::BAKE) == Some(bake.as_str())))
            };
            if may_be_there(&error) && adopt(poll, &cancel, look).await.is_some() {
                return Ok(made);
            }
            Err(error)
        }
    };
    let failed = |error| ErrorKind::Network {
        what: "cannot make the instance profile",
        error,
    };
    ctx.effect(intent, apply)
        .await
        .map_err(|error| of_effect(error, failed))?;
    ctx.created(PROFILE, name);
    surely(ctx, "the instance profile to take its role", || async {
        match ctx.gateway.add_role_to_instance_profile(name, name).await {
            // An attempt whose reply was lost has put it in: nobody else knows this profile.
            Err(error) if error.kind() == Kind::Quota => Ok(()),
            done => done,
        }
    })
    .await
}

/// A call that is made again while IAM does not know yet what it has just made, or does not
/// answer.
async fn surely<F>(
    ctx: &Context,
    what: &str,
    call: impl Fn() -> F + Send + Sync,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), forno_aws::Error>> + Send,
{
    let may_pass = |error: &forno_aws::Error| {
        matches!(error.kind(), Kind::NotFound | Kind::Busy)
            || error.kind().is_transient()
            || error.outcome() == Outcome::Unknown
    };
    let step = ids::profile();
    let wait = ctx.wait(&step, what, LIMIT);
    let done = wait.while_refused(may_pass, call).await;
    done.map_err(|error| of_wait(&error, ErrorKind::NoBuilder))
}
