//! The launch of a machine: types in order, over subnets, until one can be had
//! and runs. The builder and the test machine come about the same way.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use forno_aws::{
    Gateway, Image, Instance, InstanceId, Kind, Launch, Outcome, SecurityGroupId, StateReason, Wait,
};
use forno_events::{Severity, StepId};
use forno_link::{HostKey, HostKeyPair};
use forno_recipe::{Address, Market};
use forno_saga::{Effect, EffectId, Rung};

use super::adopt::adopt;
use super::context::{Context, of_wait};
use super::door::Door;
use super::effects::{INSTANCE, InstanceIntent, LaunchIntent, Made, intent, is_numbered};
use super::user_data::user_data;
use super::{lifeline, teardown};
use crate::error::{CallError, ErrorKind, of_effect};
use crate::plan::{Machine, Place};
use crate::{Error, names};
use forno_saga::RunError;
use tokio_util::sync::CancellationToken;

/// How many machines a bake may lose by EC2's own doing: as many rounds over all
/// places for those that never ran, as many machines for those that did.
const RELAUNCHES: usize = 3;

/// How long EC2 may take to say why a machine goes away.
const REASON_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// What differs between the machines of a bake.
pub(super) struct Wanted<'a> {
    /// The tag `forno:step`, and what its effects are named by.
    pub(super) role: &'static str,
    pub(super) image: &'a Image,
    pub(super) places: &'a [Place],
    pub(super) groups: &'a [SecurityGroupId],
    pub(super) door: &'a Door,
    pub(super) user_data: Option<&'a str>,
}

/// A machine that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) effect: EffectId,
    pub(super) id: InstanceId,
    /// Where its SSH answers, if it has an address at all.
    pub(super) address: Option<SocketAddr>,
    /// The key that it was told to show, where it is entered by SSH.
    pub(super) host_key: Option<HostKey>,
}

/// Tries the places in order, beginning after the last that was tried for this
/// role: a place that has just lost a machine is not the first choice for the next.
pub(super) async fn launch(
    ctx: &Context,
    step: &StepId,
    wanted: &Wanted<'_>,
) -> Result<Running, Error> {
    let host_key = wanted.door.host_key();
    let shown = host_key.as_ref().map(HostKeyPair::public);
    let grace = lifeline::grace(&ctx.prepared);
    let arming = lifeline::arming(grace, ctx.prepared.expires);
    let data = user_data(host_key.as_ref(), &arming, wanted.user_data);
    let places = wanted.places.len();
    let tried = ctx.launches(wanted.role);
    let mut refused: Vec<String> = Vec::new();
    // Capacity that was refused everywhere will be refused again; only machines
    // that were granted and died are worth another round.
    let mut refused_in_a_row = 0;
    for number in (tried..).take(places * (RELAUNCHES + 1)) {
        let Some(place) = wanted.places.get(number % places) else {
            break;
        };
        if refused_in_a_row == places {
            break;
        }
        let effect = EffectId::new(format!("{}.{}", wanted.role, number + 1));
        let launch = ctx.prepared.launch(
            &Machine {
                step: wanted.role,
                image: wanted.image,
                groups: wanted.groups,
                key_name: wanted.door.key().map(|key| key.name.as_str()),
                user_data: Some(&data),
                round: number / places,
            },
            place,
        );
        let asked = ctx
            .effect_of_launch(&effect, wanted.role, launch, shown.as_ref())
            .await;
        let made = match asked {
            Ok(made) => made,
            Err(RunError::Failed(CallError(error))) if tries_next(&error, place) => {
                let told = format!("{place}: {}", error.code().unwrap_or("no capacity"));
                ctx.note(Severity::Warning, format!("not to be had: {told}"));
                if error.kind() == Kind::TokenReused {
                    refused_in_a_row = 0;
                } else {
                    refused_in_a_row += 1;
                }
                refused.push(told);
                continue;
            }
            Err(error) => {
                return Err(of_effect(error, |error| {
                    ErrorKind::NoBuilder(error.to_string())
                }));
            }
        };
        refused_in_a_row = 0;
        ctx.created(INSTANCE, &made.id);
        let id = InstanceId::new(made.id)
            .map_err(|error| Error::new(ErrorKind::NoBuilder(error.to_string())))?;
        match run(ctx, step, &id).await {
            Ok(instance) => {
                return Ok(Running {
                    address: address(ctx, &instance)?,
                    effect,
                    id,
                    host_key: shown,
                });
            }
            Err(error) if error.reason().is_some_and(StateReason::is_on_their_side) => {
                let told = format!("{place}: {error}");
                ctx.note(Severity::Warning, format!("came to nothing: {told}"));
                refused.push(told);
                teardown::begin(ctx, &effect).await;
            }
            Err(error) => {
                if !error.is_cancelled() {
                    ctx.show_console(step, &id).await;
                }
                return Err(of_wait(&error, ErrorKind::NoBuilder));
            }
        }
    }
    Err(Error::new(ErrorKind::NoBuilder(format!(
        "nothing to be had: {}",
        refused.join("; ")
    )))
    .with_hint("name more types in builder.instance_types or more subnets in builder.subnet_ids"))
}

/// Whether what refused this place may grant another. Spot Instances have a quota of their
/// own, so that one used up says nothing about machines on demand.
fn tries_next(error: &forno_aws::Error, place: &Place) -> bool {
    match error.kind() {
        Kind::Capacity | Kind::TokenReused => true,
        Kind::Quota => place.market == Market::Spot,
        _ => false,
    }
}

/// A machine that another process has launched.
pub(super) async fn find(
    ctx: &Context,
    step: &StepId,
    effect: EffectId,
    id: &InstanceId,
    host_key: Option<HostKey>,
) -> Result<Running, Error> {
    let instance = run(ctx, step, id)
        .await
        .map_err(|error| of_wait(&error, ErrorKind::NoBuilder))?;
    Ok(Running {
        address: address(ctx, &instance)?,
        effect,
        id: id.clone(),
        host_key,
    })
}

/// What the work on a machine failed with: given back where that was not the loss
/// of the machine, or where enough of them were lost. Otherwise it is told, the dead
/// one begins to go, and the work may begin anew on another.
pub(super) async fn lost(
    ctx: &Context,
    role: &str,
    places: &[Place],
    effect: &EffectId,
    error: Error,
) -> Result<(), Error> {
    if !error.is_loss() || ctx.ladder.rung() > Rung::Running {
        return Err(error);
    }
    let lost = ctx.lost.fetch_add(1, Ordering::Relaxed) + 1;
    if lost > RELAUNCHES {
        let hint = format!("{lost} machines of this bake were lost; name other types or subnets");
        return Err(error.with_hint(hint));
    }
    ctx.close_steps(forno_events::Outcome::Failed);
    let next = places
        .get(ctx.launches(role) % places.len().max(1))
        .map_or_else(|| "another machine".to_owned(), ToString::to_string);
    ctx.note(
        Severity::Warning,
        format!("{error}; begun anew on {next}, {lost} of {RELAUNCHES}"),
    );
    super::connect::forget(ctx);
    super::runs::forget_all(ctx);
    teardown::begin(ctx, effect).await;
    Ok(())
}

impl Context {
    /// How many machines of this role were asked for, by whichever process.
    fn launches(&self, role: &str) -> usize {
        let of_role = |effect: &&Effect| is_numbered(effect.id.as_str(), role);
        let fold = self.saga.ledger().fold();
        fold.effects().iter().filter(of_role).count()
    }

    async fn effect_of_launch(
        &self,
        effect: &EffectId,
        role: &str,
        launch: Launch,
        host_key: Option<&HostKey>,
    ) -> Result<Made, RunError<CallError>> {
        let intent = intent(
            effect.clone(),
            INSTANCE,
            &LaunchIntent {
                instance: InstanceIntent {
                    step: role.to_owned(),
                    client_token: launch.client_token.clone(),
                    instance_type: launch.instance_type.clone(),
                    subnet: launch
                        .subnet
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                },
                host_key: host_key.map(HostKey::line),
            },
        );
        let gateway = self.gateway.clone();
        let (poll, cancel) = (self.settings.poll, self.cancel.clone());
        self.effect(intent, async move {
            match start(&gateway, &launch, poll).await {
                Ok(instance) => Ok(Made {
                    id: instance.id.to_string(),
                }),
                Err(error) if error.outcome() == Outcome::Unknown => {
                    launched(&gateway, &launch.client_token, poll, &cancel)
                        .await
                        .ok_or(error)
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// The call, repeated while what it refers to is not known everywhere yet, and
/// once more after a lost answer: the token makes that safe.
async fn start(
    gateway: &Gateway,
    launch: &Launch,
    poll: std::time::Duration,
) -> Result<Instance, forno_aws::Error> {
    let just_made = |error: &forno_aws::Error| {
        matches!(
            error.code(),
            Some(
                "InvalidGroup.NotFound"
                    | "InvalidGroupId.NotFound"
                    | "InvalidKeyPair.NotFound"
                    | "InvalidAMIID.NotFound"
            )
        ) || error.code() == Some("InvalidParameterValue")
            && ["iamInstanceProfile", "Instance Profile"]
                .iter()
                .any(|words| error.message().contains(words))
    };
    let mut again = 1;
    loop {
        let started = Wait::new("launch", std::time::Duration::from_mins(2))
            .every(poll)
            .while_refused(just_made, || gateway.run_instance(launch))
            .await;
        match started {
            Ok(instance) => return Ok(instance),
            Err(forno_aws::WaitError::Gateway(error))
                if error.outcome() == Outcome::Unknown && again > 0 =>
            {
                again -= 1;
            }
            Err(forno_aws::WaitError::Gateway(error)) => return Err(error),
            // Out of time while being refused: once more for EC2's own word.
            Err(_) => return gateway.run_instance(launch).await,
        }
    }
}

/// The machine of a launch whose answer was lost, if it shows.
pub(super) async fn launched(
    gateway: &Gateway,
    client_token: &str,
    poll: std::time::Duration,
    cancel: &CancellationToken,
) -> Option<Made> {
    let look = || async {
        let instances = gateway.instances_of_token(client_token).await?;
        Ok(instances.into_iter().find(|one| !one.state.is_ending()))
    };
    let instance = adopt(poll, cancel, look).await?;
    Some(Made {
        id: instance.id.to_string(),
    })
}

async fn run(
    ctx: &Context,
    step: &StepId,
    id: &InstanceId,
) -> Result<Instance, forno_aws::WaitError> {
    let limit = ctx.prepared.recipe.builder.timeouts.launch.get();
    ctx.gateway
        .await_running(id, ctx.wait(step, "the machine to run", limit))
        .await
}

/// Where its SSH answers.
fn address(ctx: &Context, instance: &Instance) -> Result<Option<SocketAddr>, Error> {
    let address = match ctx.prepared.recipe.builder.address {
        None => instance.public_address.or(instance.private_address),
        Some(Address::Public) => instance.public_address,
        Some(Address::Private) => instance.private_address,
    };
    let Some(address) = address else {
        return Ok(None);
    };
    let port = match instance.tags.get(names::SSH_PORT) {
        None => 22,
        Some(text) => text.parse().map_err(|_| {
            Error::new(ErrorKind::Connect(format!(
                "the tag {} of {} is `{text}`, which is no port",
                names::SSH_PORT,
                instance.id
            )))
        })?,
    };
    Ok(Some(SocketAddr::new(IpAddr::V4(address), port)))
}

/// Ends only when the machine has gone away by itself: to be raced with
/// whatever is being done on it.
pub(super) async fn gone(ctx: &Context, step: &StepId, id: &InstanceId) -> Error {
    loop {
        tokio::time::sleep(ctx.settings.poll).await;
        // Not known, or no answer: no news.
        let Ok(Some(instance)) = ctx.gateway.instance(id).await else {
            continue;
        };
        if let Some(error) = has_gone(ctx, step, &instance).await {
            return error;
        }
    }
}

/// After a failure: was it because the machine went away? Its state may need a
/// moment to show.
pub(super) async fn gone_after_all(
    ctx: &Context,
    step: &StepId,
    id: &InstanceId,
    lost: bool,
) -> Option<Error> {
    let patience = if lost {
        std::time::Duration::from_secs(10)
    } else {
        std::time::Duration::ZERO
    };
    let until = forno_saga::Deadline::after(patience);
    loop {
        if let Ok(Some(instance)) = ctx.gateway.instance(id).await
            && let Some(error) = has_gone(ctx, step, &instance).await
        {
            return Some(error);
        }
        if until.passed() || ctx.cancel.is_cancelled() {
            return None;
        }
        until.pause(ctx.settings.poll).await;
    }
}

/// After a failure to make use of a stopped machine: was it because it has ended?
pub(super) async fn ended(ctx: &Context, step: &StepId, id: &InstanceId) -> Option<Error> {
    match ctx.gateway.instance(id).await {
        Ok(Some(instance)) if instance.state.is_ending() => has_gone(ctx, step, &instance).await,
        _ => None,
    }
}

async fn has_gone(ctx: &Context, step: &StepId, instance: &Instance) -> Option<Error> {
    use forno_aws::InstanceState as S;
    if !matches!(
        instance.state,
        S::Stopping | S::Stopped | S::ShuttingDown | S::Terminated
    ) {
        return None;
    }
    ctx.show_console(step, &instance.id).await;
    let reason = match &instance.state_reason {
        Some(reason) => Some(reason.clone()),
        None => reason_of(ctx, &instance.id).await,
    };
    let error = Error::new(ErrorKind::MachineGone {
        instance: instance.id.to_string(),
        theirs: reason.as_ref().is_some_and(StateReason::is_on_their_side),
        reason: reason.as_ref().map_or_else(
            || instance.state.to_string(),
            |r| format!("{}: {r}", instance.state),
        ),
    });
    Some(match reason.as_ref().and_then(StateReason::hint) {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

/// The state may be seen before its reason.
async fn reason_of(ctx: &Context, id: &InstanceId) -> Option<StateReason> {
    let until = forno_saga::Deadline::after(REASON_WITHIN);
    while !until.passed() && !ctx.cancel.is_cancelled() {
        until.pause(ctx.settings.poll).await;
        if let Ok(Some(instance)) = ctx.gateway.instance(id).await
            && instance.state_reason.is_some()
        {
            return instance.state_reason;
        }
    }
    None
}
