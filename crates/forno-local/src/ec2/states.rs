//! Start, stop, reboot, terminate: checks and the first step of each
//! transition. The rest happens to the machine and is told by its keeper.

use super::call::Call;
use super::instance_reply::write_state;
use super::instances::named;
use crate::api::error::ApiError;
use crate::api::xml::Xml;
use crate::fleet::{Order, user_initiated};
use crate::state::world::{InstanceState, Reason};

/// The instances of a call, each once, and all there.
fn targets(call: &mut Call<'_>) -> Result<Vec<String>, ApiError> {
    let mut ids = call.params.require_list("InstanceId")?;
    named(call.state(), &ids)?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.into_iter().map(str::to_owned).collect())
}

/// `Force` and `SkipOsShutdown` both spare the guest's shutdown.
fn hard(call: &Call<'_>) -> Result<bool, ApiError> {
    let force = call.params.flag("Force")?.unwrap_or(false);
    let skip = call.params.flag("SkipOsShutdown")?.unwrap_or(false);
    Ok(force || skip)
}

fn state_of(call: &mut Call<'_>, id: &str) -> InstanceState {
    call.state().instances[id].state
}

fn wrong_state(id: &str, action: &str) -> ApiError {
    ApiError::new(
        "IncorrectInstanceState",
        format!("The instance '{id}' is not in a state from which it can be {action}."),
    )
}

/// Moves instances on and shows for each where it was and is.
fn move_on(
    call: &mut Call<'_>,
    xml: &mut Xml,
    ids: Vec<String>,
    mut next: impl FnMut(InstanceState) -> Option<InstanceState>,
    reason: Option<&Reason>,
    mut order: impl FnMut(String) -> Order,
) {
    let mut changes = Vec::new();
    for id in ids {
        let Some(instance) = call.state().instances.get_mut(&id) else {
            continue;
        };
        let before = instance.state;
        if let Some(after) = next(before) {
            instance.state = after;
            instance.reason = reason.cloned();
            instance.transition = if reason.is_some() {
                user_initiated()
            } else {
                String::new()
            };
            instance.reachable = false;
            changes.push((id.clone(), before, after));
            call.order(order(id));
        } else {
            changes.push((id, before, before));
        }
    }
    xml.list("instancesSet", changes, |xml, (id, before, after)| {
        xml.text("instanceId", id);
        write_state(xml, "currentState", after);
        write_state(xml, "previousState", before);
    });
}

pub(super) fn stop_instances(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let ids = targets(call)?;
    let hard = hard(call)?;
    if call.params.flag("Hibernate")?.unwrap_or(false) {
        return Err(ApiError::new(
            "UnsupportedHibernationConfiguration",
            "The instances are not configured for hibernation",
        ));
    }
    for id in &ids {
        match state_of(call, id) {
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => {}
            InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                return Err(wrong_state(id, "stopped"));
            }
        }
        if call.state().instances[id].spot_request.is_some() {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!(
                    "You can't stop the Spot Instance '{id}' because it is associated with a one-time Spot Instance \
                     request. You can only stop Spot Instances associated with persistent Spot Instance requests."
                ),
            ));
        }
        if call.state().instances[id].protect_stop {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
                ),
            ));
        }
    }
    call.commit()?;
    let reason = Reason::new("Client.UserInitiatedShutdown", "User initiated shutdown");
    let next = |state| (state == InstanceState::Running).then_some(InstanceState::Stopping);
    move_on(call, xml, ids, next, Some(&reason), |instance| {
        Order::Stop { instance, hard }
    });
    Ok(())
}

pub(super) fn start_instances(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let ids = targets(call)?;
    for id in &ids {
        match state_of(call, id) {
            InstanceState::Stopped | InstanceState::Running | InstanceState::Pending => {}
            InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
                return Err(wrong_state(id, "started"));
            }
        }
    }
    call.commit()?;
    let now = call.now;
    for id in &ids {
        if let Some(instance) = call.state().instances.get_mut(id)
            && instance.state == InstanceState::Stopped
        {
            instance.launched = now;
        }
    }
    let next = |state| (state == InstanceState::Stopped).then_some(InstanceState::Pending);
    move_on(call, xml, ids, next, None, |instance| Order::Start {
        instance,
    });
    Ok(())
}

pub(super) fn reboot_instances(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let ids = targets(call)?;
    for id in &ids {
        if state_of(call, id) != InstanceState::Running {
            return Err(wrong_state(id, "rebooted"));
        }
    }
    call.commit()?;
    for instance in ids {
        call.order(Order::Reboot { instance });
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn terminate_instances(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let ids = targets(call)?;
    let hard = hard(call)?;
    for id in &ids {
        if call.state().instances[id].protect_termination
            && state_of(call, id) != InstanceState::Terminated
        {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance \
                     attribute and try again."
                ),
            ));
        }
    }
    call.commit()?;
    let reason = Reason::new("Client.UserInitiatedShutdown", "User initiated shutdown");
    let next = |state| {
        let ending = matches!(
            state,
            InstanceState::ShuttingDown | InstanceState::Terminated
        );
        (!ending).then_some(InstanceState::ShuttingDown)
    };
    move_on(call, xml, ids, next, Some(&reason), |instance| {
        Order::Terminate { instance, hard }
    });
    Ok(())
}
