//! What can be learned of instances: their description, status and console.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::{Call, iso};
use super::instance_reply::{
    has_network, instance_tags, public_address, write_reservation_of, write_state,
};
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::state::iam::profile_arn;
use crate::state::ids::Resource;
use crate::state::network::{private_dns, vpc_id};
use crate::state::regions::{Region, Zone};
use crate::state::world::{ACCOUNT, Attachment, Instance, InstanceState, RegionState, Volume};

/// How long a terminated instance is still shown.
const SHOWN_AFTER_END: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

const FILTERS: &[&str] = &[
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "hibernation-options.configured",
    "hypervisor",
    "iam-instance-profile.arn",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-endpoint",
    "metadata-options.http-tokens",
    "monitoring-state",
    "network-interface.group-id",
    "network-interface.group-name",
    "network-interface.mac-address",
    "network-interface.network-interface-id",
    "network-interface.subnet-id",
    "network-interface.vpc-id",
    "owner-id",
    "placement-group-name",
    "platform",
    "platform-details",
    "private-dns-name",
    "private-ip-address",
    "reason",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "state-reason-code",
    "state-reason-message",
    "subnet-id",
    "tenancy",
    "virtualization-type",
    "vpc-id",
];

/// Forgets instances that ended long ago.
fn forget_old(call: &mut Call<'_>) {
    let now = call.now;
    let state = call.state();
    let old = |instance: &Instance| {
        instance
            .ended
            .is_some_and(|ended| now.duration_since(ended) > SHOWN_AFTER_END)
    };
    let gone: Vec<(String, String)> = state
        .instances
        .values()
        .filter(|instance| old(instance))
        .map(|instance| (instance.id.clone(), instance.interface.clone()))
        .collect();
    for (id, interface) in &gone {
        state.instances.remove(id);
        state.tags.remove(id);
        state.tags.remove(interface);
    }
    let ids: Vec<String> = gone.into_iter().map(|(id, _)| id).collect();
    if !ids.is_empty() {
        call.fleet.forget(&ids);
    }
}

/// The instances of the given ids, all of which must be there.
pub(super) fn named(state: &RegionState, ids: &[&str]) -> Result<(), ApiError> {
    for id in ids {
        Resource::Instance.check(id)?;
    }
    let unknown: Vec<&str> = ids
        .iter()
        .copied()
        .filter(|id| !state.instances.contains_key(*id))
        .collect();
    match unknown.as_slice() {
        [] => Ok(()),
        [one] => Err(Resource::Instance.not_found(one)),
        many => Err(ApiError::new(
            "InvalidInstanceID.NotFound",
            format!("The instance IDs '{}' do not exist", many.join(", ")),
        )),
    }
}

pub(super) fn describe_instances(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let ids = call.params.list("InstanceId");
    call.params.flag("IncludeManagedResources")?;
    if !ids.is_empty() && page.asked() {
        return Err(ApiError::combination(
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    forget_old(call);
    let region = call.region;
    let state = call.state();
    named(state, &ids)?;
    let mut reservations: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in state.instances.values() {
        let asked = ids.is_empty() || ids.contains(&instance.id.as_str());
        let tags = instance_tags(state, instance);
        let tags = tags
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        if asked
            && filters.select(tags, |filter| {
                filter_values(state, instance, filter, region)
            })
        {
            reservations
                .entry(&instance.reservation)
                .or_default()
                .push(instance);
        }
    }
    let (reservations, next) = page.cut(reservations.into_iter().collect(), |(id, _)| {
        (*id).to_owned()
    });
    xml.list(
        "reservationSet",
        reservations,
        |xml, (id, mut instances)| {
            instances.sort_by_key(|instance| instance.launch_index);
            write_reservation_of(xml, state, region, id, &instances);
        },
    );
    xml.maybe("nextToken", next);
    Ok(())
}

fn filter_values(
    state: &RegionState,
    instance: &Instance,
    filter: &str,
    region: Region,
) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    let connected = has_network(instance);
    let when_connected = |text: String| if connected { vec![text] } else { Vec::new() };
    let disks = |value: fn(&Volume, &Attachment) -> String| {
        let attached = state.volumes_of(instance).into_iter();
        attached
            .map(|(volume, attachment)| value(volume, attachment))
            .collect()
    };
    match filter {
        "architecture" => one(if instance.arm { "arm64" } else { "x86_64" }),
        "availability-zone" => one(&instance.zone),
        "availability-zone-id" => region
            .zone(&instance.zone)
            .map(Zone::id)
            .into_iter()
            .collect(),
        "block-device-mapping.attach-time" => disks(|_, attachment| iso(attachment.at)),
        "block-device-mapping.delete-on-termination" => {
            disks(|_, attachment| attachment.delete_on_termination.to_string())
        }
        "block-device-mapping.device-name" => disks(|_, attachment| attachment.device.clone()),
        "block-device-mapping.status" => disks(|_, _| "attached".to_owned()),
        "block-device-mapping.volume-id" => disks(|volume, _| volume.id.clone()),
        "client-token" => instance.client_token.iter().cloned().collect(),
        "dns-name" | "ip-address" => public_address(instance).into_iter().collect(),
        "hibernation-options.configured" => one("false"),
        "hypervisor" => one("xen"),
        "image-id" => one(&instance.image),
        "instance-id" => one(&instance.id),
        "instance-state-code" => one(&instance.state.code().to_string()),
        "instance-state-name" => one(instance.state.name()),
        "instance-type" => one(&instance.kind),
        "instance.group-id" | "network-interface.group-id" if connected => instance.groups.clone(),
        "instance.group-name" | "network-interface.group-name" if connected => instance
            .groups
            .iter()
            .filter_map(|id| state.groups.get(id))
            .map(|group| group.name.clone())
            .collect(),
        "key-name" => instance.key_name.iter().cloned().collect(),
        "launch-index" => one(&instance.launch_index.to_string()),
        "launch-time" => one(&iso(instance.launched)),
        "metadata-options.http-endpoint" => one(if instance.metadata.enabled {
            "enabled"
        } else {
            "disabled"
        }),
        "metadata-options.http-tokens" => one(if instance.metadata.tokens_required {
            "required"
        } else {
            "optional"
        }),
        "monitoring-state" => one(if instance.monitoring {
            "enabled"
        } else {
            "disabled"
        }),
        "network-interface.mac-address" => {
            when_connected(forno_machine::mac_address(instance.private_address))
        }
        "network-interface.network-interface-id" => when_connected(instance.interface.clone()),
        "owner-id" => one(ACCOUNT),
        "platform-details" => one("Linux/UNIX"),
        "private-dns-name" => when_connected(private_dns(instance.private_address, region.name)),
        "private-ip-address" => when_connected(instance.private_address.to_string()),
        "reason" => one(&instance.transition),
        "reservation-id" => one(&instance.reservation),
        "root-device-name" => one(&instance.root_device),
        "root-device-type" => one("ebs"),
        "state-reason-code" => instance
            .reason
            .iter()
            .map(|reason| reason.code.clone())
            .collect(),
        "state-reason-message" => instance
            .reason
            .iter()
            .map(|reason| reason.message.clone())
            .collect(),
        "subnet-id" | "network-interface.subnet-id" => when_connected(instance.subnet.clone()),
        "instance-lifecycle" => instance
            .spot_request
            .iter()
            .map(|_| "spot".to_owned())
            .collect(),
        "spot-instance-request-id" => instance.spot_request.iter().cloned().collect(),
        "tenancy" => one(instance.hardware.tenancy()),
        "virtualization-type" => one("hvm"),
        "vpc-id" | "network-interface.vpc-id" => when_connected(vpc_id(region)),
        "iam-instance-profile.arn" => instance
            .profile
            .as_deref()
            .map(profile_arn)
            .into_iter()
            .collect(),
        // What no instance here has: placement groups.
        _ => Vec::new(),
    }
}

const STATUS_FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "event.code",
    "event.description",
    "event.instance-event-id",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
    "attached-ebs-status.status",
];

pub(super) fn describe_instance_status(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, STATUS_FILTERS, false)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let ids = call.params.list("InstanceId");
    let all = call.params.flag("IncludeAllInstances")?.unwrap_or(false);
    call.params.flag("IncludeManagedResources")?;
    if !ids.is_empty() && page.asked() {
        return Err(ApiError::combination(
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    forget_old(call);
    let region = call.region;
    let state = call.state();
    named(state, &ids)?;
    let mut instances: Vec<&Instance> = state.instances.values().collect();
    instances.retain(|instance| {
        let checks = Checks::of(instance);
        (ids.is_empty() || ids.contains(&instance.id.as_str()))
            && (all || instance.state == InstanceState::Running)
            && filters.select(std::iter::empty(), |filter| {
                vec![match filter {
                    "availability-zone" => instance.zone.clone(),
                    "availability-zone-id" => region
                        .zone(&instance.zone)
                        .map(Zone::id)
                        .unwrap_or_default(),
                    "instance-state-code" => instance.state.code().to_string(),
                    "instance-state-name" => instance.state.name().to_owned(),
                    "instance-status.reachability" | "system-status.reachability" => {
                        return checks.reachability.map(str::to_owned).into_iter().collect();
                    }
                    "instance-status.status"
                    | "system-status.status"
                    | "attached-ebs-status.status" => checks.status.to_owned(),
                    _ => return Vec::new(),
                }]
            })
    });
    let (instances, next) = page.cut(instances, |instance| instance.id.clone());
    xml.list("instanceStatusSet", instances, |xml, instance| {
        xml.text("availabilityZone", &instance.zone)
            .maybe(
                "availabilityZoneId",
                region.zone(&instance.zone).map(Zone::id),
            )
            .text("instanceId", &instance.id);
        write_state(xml, "instanceState", instance.state);
        let checks = Checks::of(instance);
        checks.write(xml, "instanceStatus");
        checks.write(xml, "systemStatus");
        checks.write(xml, "attachedEbsStatus");
    });
    xml.maybe("nextToken", next);
    Ok(())
}

/// The status checks: passed once the machine's SSH server has answered.
struct Checks {
    status: &'static str,
    reachability: Option<&'static str>,
}

impl Checks {
    fn of(instance: &Instance) -> Self {
        match (instance.state, instance.reachable) {
            (InstanceState::Running, true) => Self {
                status: "ok",
                reachability: Some("passed"),
            },
            (InstanceState::Running | InstanceState::Pending, _) => Self {
                status: "initializing",
                reachability: Some("initializing"),
            },
            _ => Self {
                status: "not-applicable",
                reachability: None,
            },
        }
    }

    fn write(&self, xml: &mut Xml, name: &str) {
        xml.group(name, |xml| {
            xml.list("details", self.reachability, |xml, reachability| {
                xml.text("name", "reachability")
                    .text("status", reachability);
            })
            .text("status", self.status);
        });
    }
}

pub(super) fn get_console_output(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let id = call.params.require("InstanceId")?;
    // What is given is always the latest.
    call.params.flag("Latest")?;
    named(call.state(), &[id])?;
    let console = call.fleet.console(id).unwrap_or_default();
    xml.text("instanceId", id).text("timestamp", iso(call.now));
    if !console.is_empty() {
        xml.text("output", STANDARD.encode(console));
    }
    Ok(())
}
