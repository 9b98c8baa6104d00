//! Phase 2: a security group that lets this machine in and nobody else.

use std::time::Duration;

use forno_aws::{Cidr, IngressRule, Kind, Outcome, SecurityGroupId};
use forno_events::StepId;
use forno_saga::EffectId;

use super::adopt::{adopt, may_be_there};
use super::context::{Context, of_wait};
use super::effects::{Made, NamedIntent, SECURITY_GROUP};
use crate::error::{ErrorKind, of_effect};
use crate::{Error, names};

const SSH: u16 = 22;

/// A new group is not known everywhere at once.
const VISIBLE_WITHIN: Duration = Duration::from_mins(2);

pub(super) async fn create(ctx: &Context, step: &StepId) -> Result<SecurityGroupId, Error> {
    let new = ctx.prepared.new_group();
    let name = new.name.clone();
    let gateway = ctx.gateway.clone();
    let (poll, cancel) = (ctx.settings.poll, ctx.cancel.clone());
    let intent = NamedIntent::intent(
        EffectId::new(SECURITY_GROUP),
        SECURITY_GROUP,
        &name,
        SECURITY_GROUP,
    );
    let apply = async move {
        let error = match gateway.create_security_group(&new).await {
            Ok(id) => return Ok(Made { id: id.to_string() }),
            Err(error) => error,
        };
        let look = || async {
            let there = gateway.security_groups_named(&new.name).await?;
            Ok(there
                .into_iter()
                .find(|group| group.tags.get(names::BAKE) == new.tags.get(names::BAKE)))
        };
        if may_be_there(&error)
            && let Some(group) = adopt(poll, &cancel, look).await
        {
            return Ok(Made {
                id: group.id.to_string(),
            });
        }
        Err(error)
    };
    let failed = |error| ErrorKind::Network {
        what: "cannot make the security group",
        error,
    };
    let made = ctx
        .effect(intent, apply)
        .await
        .map_err(|error| of_effect(error, failed))?;
    ctx.created(SECURITY_GROUP, &made.id);
    let id = SecurityGroupId::new(made.id)
        .map_err(|error| Error::new(ErrorKind::NoBuilder(error.to_string())))?;

    open(ctx, step, &id, &ctx.prepared.ingress).await?;
    Ok(id)
}

/// Not an effect of its own: a rule goes with its group, and opening what is open
/// already does no harm.
pub(super) async fn open(
    ctx: &Context,
    step: &StepId,
    id: &SecurityGroupId,
    sources: &[Cidr],
) -> Result<(), Error> {
    for from in sources {
        let rule = IngressRule {
            port: SSH,
            from: *from,
            description: Some(format!("forno {}", ctx.prepared.bake)),
        };
        let mut unknown = 0;
        loop {
            let opened = ctx
                .wait(step, "the security group to be known", VISIBLE_WITHIN)
                .of(id)
                .while_refused(
                    |error| error.kind() == Kind::NotFound,
                    || ctx.gateway.allow_ingress(id, &rule),
                )
                .await;
            match opened {
                Ok(()) => break,
                Err(forno_aws::WaitError::Gateway(error))
                    if error.outcome() == Outcome::Unknown && unknown < 2 =>
                {
                    unknown += 1;
                }
                Err(error) => {
                    return Err(of_wait(&error, |text| {
                        ErrorKind::NoBuilder(format!("cannot open the security group: {text}"))
                    }));
                }
            }
        }
    }
    Ok(())
}
