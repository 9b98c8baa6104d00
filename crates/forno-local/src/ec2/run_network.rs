//! Where a launch goes: subnet, zone, groups and interface, from either of the
//! two forms that RunInstances has for them.

use super::call::Call;
use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::state::ids::Resource;
use crate::state::network::{Subnet, subnets, vpc_id};

/// The network of one launch.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) subnet: Subnet,
    pub(super) groups: Vec<String>,
    pub(super) show_public: bool,
    pub(super) delete_interface: bool,
    pub(super) description: String,
}

pub(super) fn read(call: &mut Call<'_>) -> Result<Network, ApiError> {
    let params = call.params.clone();
    let interfaces = params.members("NetworkInterface");
    let placement = params.group("Placement");
    let zone = placement
        .as_ref()
        .and_then(|place| place.given("AvailabilityZone"));
    let top_level = params.given("SubnetId").is_some();
    let top_groups =
        !params.list("SecurityGroupId").is_empty() || !params.list("SecurityGroup").is_empty();
    if params.given("PrivateIpAddress").is_some() {
        return Err(ApiError::unsupported("a chosen private address"));
    }
    let (level, form) = match interfaces.as_slice() {
        [] => (&params, Form::Plain),
        [one] => {
            if top_groups {
                return Err(ApiError::combination(
                    "Network interfaces and an instance-level security groups may not be specified on the same request",
                ));
            }
            if top_level {
                return Err(ApiError::combination(
                    "Network interfaces and an instance-level subnet ID may not be specified on the same request",
                ));
            }
            (one, Form::Interface)
        }
        _ => return Err(ApiError::unsupported("more than one network interface")),
    };
    let mut network = Network {
        subnet: subnet(call, level.given("SubnetId"), zone)?,
        groups: groups(call, level)?,
        show_public: true,
        delete_interface: true,
        description: String::new(),
    };
    if form == Form::Interface {
        let index = level.number("DeviceIndex")?;
        if index.is_some_and(|index| index != 0)
            || level
                .number("NetworkCardIndex")?
                .is_some_and(|index| index != 0)
        {
            return Err(ApiError::invalid(
                "The primary network interface must have device index 0",
            ));
        }
        if let Some(kind) = level
            .get("InterfaceType")
            .filter(|kind| *kind != "interface")
        {
            return Err(ApiError::unsupported(format!(
                "network interfaces of type {kind}"
            )));
        }
        network.show_public = level.flag("AssociatePublicIpAddress")?.unwrap_or(true);
        network.delete_interface = level.flag("DeleteOnTermination")?.unwrap_or(true);
        level
            .get("Description")
            .unwrap_or_default()
            .clone_into(&mut network.description);
        if !network.delete_interface {
            return Err(ApiError::unsupported(
                "network interfaces that outlive their instance",
            ));
        }
    }
    Ok(network)
}

#[derive(PartialEq, Eq)]
enum Form {
    Plain,
    Interface,
}

fn subnet(call: &Call<'_>, id: Option<&str>, zone: Option<&str>) -> Result<Subnet, ApiError> {
    let all = subnets(call.region);
    if let Some(name) = zone
        && call.region.zone(name).is_none()
    {
        return Err(ApiError::invalid(format!(
            "Invalid availability zone: [{name}]"
        )));
    }
    let found = match id {
        Some(id) => {
            Resource::Subnet.check(id)?;
            let found = all.into_iter().find(|subnet| subnet.id == id);
            let found = found.ok_or_else(|| Resource::Subnet.not_found(id))?;
            if zone.is_some_and(|zone| zone != found.zone.name()) {
                return Err(ApiError::invalid(format!(
                    "The subnet ID '{id}' is not in the availability zone that was asked for"
                )));
            }
            Some(found)
        }
        None => all
            .into_iter()
            .find(|subnet| zone.is_none_or(|zone| zone == subnet.zone.name())),
    };
    found.ok_or_else(|| ApiError::internal("the region has no subnet"))
}

fn groups(call: &mut Call<'_>, level: &Level<'_>) -> Result<Vec<String>, ApiError> {
    let (ids, names) = (level.list("SecurityGroupId"), level.list("SecurityGroup"));
    let vpc = vpc_id(call.region);
    let state = call.state();
    let mut groups = Vec::new();
    for id in ids {
        Resource::SecurityGroup.check(id)?;
        if !state.groups.contains_key(id) {
            return Err(ApiError::new(
                "InvalidGroup.NotFound",
                format!("The security group '{id}' does not exist in VPC '{vpc}'"),
            ));
        }
        groups.push(id.to_owned());
    }
    for name in names {
        let group = state.group_named(name).ok_or_else(|| {
            ApiError::new(
                "InvalidGroup.NotFound",
                format!("The security group '{name}' does not exist in default VPC '{vpc}'"),
            )
        })?;
        groups.push(group.id.clone());
    }
    if groups.is_empty() {
        groups.extend(state.group_named("default").map(|group| group.id.clone()));
    }
    groups.dedup();
    Ok(groups)
}
