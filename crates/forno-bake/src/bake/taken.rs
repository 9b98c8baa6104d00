//! What a bake whose process is gone has left that another can go on with.

use forno_aws::{InstanceId, InstanceState, SecurityGroupId};
use forno_events::{Event, Outcome, Severity, StepId};
use forno_link::{HostKey, keyring};
use forno_saga::{Body, Effect, EffectId, Fold, Phase};
use jiff::Timestamp;

use super::builder;
use super::capture::is_image;
use super::context::Context;
use super::door::Door;
use super::effects::{self, BUCKET, KEY_PAIR, LaunchIntent, SECURITY_GROUP, is_numbered};
use super::key_pair;
use super::machine::{self, Running};
use crate::plan::{ids, ingress};
use crate::{BakeFolder, Error, ErrorKind, Outlook};

/// The builder of a bake, as far as another process had come with it.
pub(super) enum Taken {
    /// It runs, and steps are left.
    Working(Box<Running>, Door),
    /// Sealed: it takes no connection any more, and needs none.
    Sealed { effect: EffectId, id: InstanceId },
}

/// Finds the builder again, or says why there is nothing to go on with.
pub(super) async fn builder(ctx: &Context) -> Result<Taken, Error> {
    if ctx.time_left().is_zero() {
        return Err(no("its time, builder.timeouts.total, is over"));
    }
    let fold = ctx.saga.ledger().fold();
    if let Some(image) = fold.effects().iter().find(|effect| is_image(effect)) {
        let why = image.failure.as_ref().map(ToString::to_string);
        return Err(no(format!(
            "its image came to nothing{}",
            why.map(|why| format!(": {why}")).unwrap_or_default()
        )));
    }
    if is_being_removed(&fold) {
        return Err(no("it was being taken down when its process ended"));
    }
    let effect = last_builder(&fold).ok_or_else(|| no("it has no builder"))?;
    let id = find(ctx, effect).await?;
    // Told and not in the ledger yet: the process was killed between the two.
    for step in &ctx.told {
        let is_on_it = ctx.prepared.steps.iter().any(|info| {
            info.id == *step && ["provision", "check", "seal"].contains(&info.phase.as_str())
        });
        if is_on_it && *step != ids::inventory() && !ctx.has_passed(step, &effect.id) {
            ctx.pass(step, &effect.id).await?;
        }
    }
    let sealed = ctx.has_passed(&ids::seal(), &effect.id);
    let instance = ctx
        .gateway
        .instance(&id)
        .await
        .map_err(ErrorKind::Planning)?;
    let state = instance.as_ref().map(|instance| &instance.state);
    match state {
        Some(InstanceState::Pending | InstanceState::Running) => {}
        Some(InstanceState::Stopping | InstanceState::Stopped) if sealed => {}
        _ => return Err(gone(&id, instance.as_ref())),
    }
    if sealed {
        return Ok(Taken::Sealed {
            effect: effect.id.clone(),
            id,
        });
    }
    let door = Door::take(ctx).map_err(no)?;
    let host_key: Option<HostKey> = effects::read::<LaunchIntent>(&effect.intent)
        .ok()
        .and_then(|intent| intent.host_key?.parse().ok());
    if door.key().is_some() && host_key.is_none() {
        return Err(no("the host key of its builder is not known"));
    }
    let running = machine::find(ctx, &ids::builder(), effect.id.clone(), &id, host_key).await?;
    Ok(Taken::Working(Box::new(running), door))
}

fn no(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NoBuilder(format!(
        "it cannot be taken up: {why}"
    )))
}

fn gone(id: &InstanceId, instance: Option<&forno_aws::Instance>) -> Error {
    let Some(instance) = instance else {
        return no(format!("EC2 does not know its builder {id} any more"));
    };
    let reason = instance.state_reason.as_ref();
    let why = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let error = no(format!("its builder {id} is {}{why}", instance.state));
    match reason {
        Some(reason) if reason.code == "Server.EndpointShutdown" => error.with_hint(
            "machines of a pocket EC2 end with it: a bake with --local can be taken up only where a `forno local serve` goes on",
        ),
        _ => error,
    }
}

/// The last machine that was asked for, unless it never came about.
fn last_builder(fold: &Fold) -> Option<&Effect> {
    let launched = |effect: &&Effect| is_numbered(effect.id.as_str(), builder::ROLE);
    let last = fold.effects().iter().rfind(launched)?;
    matches!(last.phase, Phase::Done | Phase::Intended | Phase::Unknown).then_some(last)
}

/// Nothing but the teardown removes the first things of a bake.
fn is_being_removed(fold: &Fold) -> bool {
    fold.effects().iter().any(|effect| {
        [KEY_PAIR, SECURITY_GROUP, BUCKET].contains(&effect.id.as_str())
            && matches!(effect.phase, Phase::Undoing | Phase::Undone | Phase::Stuck)
    })
}

/// Its id; of a launch that was never answered by its token.
async fn find(ctx: &Context, effect: &Effect) -> Result<InstanceId, Error> {
    let id = if let Some(id) = effects::id(effect) {
        id
    } else {
        let intent: LaunchIntent =
            effects::read(&effect.intent).map_err(|error| no(error.to_string()))?;
        let made = machine::launched(
            &ctx.gateway,
            &intent.instance.client_token,
            ctx.settings.poll,
            &ctx.cancel,
        )
        .await
        .ok_or_else(|| no("it has no builder"))?;
        ctx.saga
            .ledger()
            .record(Body::Done {
                effect: effect.id.clone(),
                done: serde_json::to_value(&made).unwrap_or_default(),
            })
            .await?;
        made.id
    };
    InstanceId::new(id).map_err(|error| no(error.to_string()))
}

/// The groups that its machines stand in: the recipe's, or the one that was made.
/// That one is opened to this machine, which may have another address by now, unless
/// its machines are reached without a port.
pub(super) async fn groups(ctx: &Context) -> Result<Vec<SecurityGroupId>, Error> {
    if !ctx.prepared.ground.groups.is_empty() {
        return Ok(ctx.prepared.ground.groups.clone());
    }
    let fold = ctx.saga.ledger().fold();
    let id = fold
        .effect(&EffectId::new(SECURITY_GROUP))
        .filter(|effect| effect.phase == Phase::Done)
        .and_then(effects::id)
        .and_then(|id| SecurityGroupId::new(id).ok())
        .ok_or_else(|| no("its security group is gone"))?;
    let connect = ctx.prepared.connect;
    let said = &ctx.prepared.recipe.builder.ingress_cidrs;
    match ingress(&ctx.gateway, &ctx.settings.ingress, said, connect).await {
        Ok(from) => super::security_group::open(ctx, &ids::connect(), &id, &from).await?,
        Err(error) => ctx.note(
            Severity::Warning,
            format!("it is reached from here if the address is what it was: {error}"),
        ),
    }
    Ok(vec![id])
}

/// The machine that the image is made from, where it is known.
pub(super) fn captured_from(ctx: &Context) -> Option<(EffectId, InstanceId)> {
    let fold = ctx.saga.ledger().fold();
    let launched = |effect: &&Effect| is_numbered(effect.id.as_str(), builder::ROLE);
    let last = fold.effects().iter().rfind(launched)?;
    let id = InstanceId::new(effects::id(last)?).ok()?;
    Some((last.id.clone(), id))
}

/// Says which steps are not done again, so that nobody waits for them.
pub(super) fn tell_passed(ctx: &Context, has_image: bool) {
    let fold = ctx.saga.ledger().fold();
    let on = last_builder(&fold).map(|effect| &effect.id);
    let made = |id: &StepId, effect: &str| {
        let effect = fold.effect(&EffectId::new(effect));
        *id == StepId::new(effect.map_or("", |effect| effect.id.as_str()))
            && effect.is_some_and(|effect| effect.phase == Phase::Done)
    };
    for step in &ctx.prepared.steps {
        let id = &step.id;
        let before_image = has_image
            && ctx
                .prepared
                .steps
                .iter()
                .take_while(|s| s.id != ids::image())
                .any(|s| s.id == *id);
        let passed = before_image
            || made(id, KEY_PAIR)
            || made(id, SECURITY_GROUP)
            || made(id, BUCKET)
            || (*id == ids::builder() && on.is_some())
            || on.is_some_and(|on| fold.has_passed(id.as_str(), on) && *id != ids::connect());
        if passed {
            ctx.emitter.emit(Event::StepFinished {
                step: id.clone(),
                outcome: Outcome::Skipped,
                attempt: 1,
                elapsed_ms: 0,
                message: None,
            });
        }
    }
}

impl BakeFolder {
    /// What can be done about a bake whose process is gone; nothing, where nothing
    /// is left of it.
    pub fn outlook(&self) -> Option<Outlook> {
        if self.is_alive().unwrap_or(true) {
            return None;
        }
        let Ok(history) = self.ledger() else {
            return Some(Outlook::Sweep);
        };
        let fold = history.fold;
        match fold.closing() {
            Some(forno_saga::Closing::Leaking) if fold.is_past_return() => {
                return Some(Outlook::Resume);
            }
            Some(forno_saga::Closing::Leaking) => return Some(Outlook::Sweep),
            Some(_) => return None,
            None => {}
        }
        if fold.is_past_return() {
            return Some(Outlook::Resume);
        }
        fold.unreleased().next()?;
        let Ok(Some(saved)) = self.plan() else {
            return Some(Outlook::Sweep);
        };
        let in_time = Timestamp::now() < saved.expires;
        let has_image = fold
            .effects()
            .iter()
            .any(|effect| is_image(effect) && super::capture::may_become(effect));
        let has_builder = last_builder(&fold).is_some_and(|builder| {
            fold.has_passed(ids::seal().as_str(), &builder.id)
                || keyring::holds(&key_pair::kept_as(self.id()))
        });
        Some(
            if in_time && (has_image || (has_builder && !is_being_removed(&fold))) {
                Outlook::Resume
            } else {
                Outlook::Sweep
            },
        )
    }
}
