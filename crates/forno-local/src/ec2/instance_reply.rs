//! An instance as RunInstances and DescribeInstances show it.

use super::call::iso;
use super::tags::write_tags;
use crate::api::xml::Xml;
use crate::state::iam::{profile_arn, profile_id};
use crate::state::network::{private_dns, vpc_id};
use crate::state::regions::{Region, Zone};
use crate::state::types::InstanceType;
use crate::state::world::{ACCOUNT, Instance, InstanceState, Reason, RegionState};

/// The documented tag that tells where SSH answers when that is not port 22.
pub(super) const SSH_PORT_TAG: &str = "forno:ssh-port";

/// The tags of an instance, with the one that the endpoint adds.
pub(super) fn instance_tags(state: &RegionState, instance: &Instance) -> Vec<(String, String)> {
    let mut tags: Vec<(String, String)> = state
        .tags_of(&instance.id)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    if let Some(port) = instance.ssh_port {
        tags.retain(|(key, _)| key != SSH_PORT_TAG);
        tags.push((SSH_PORT_TAG.to_owned(), port.to_string()));
    }
    tags
}

/// Whether the instance has its addresses now.
pub(super) fn has_network(instance: &Instance) -> bool {
    !matches!(
        instance.state,
        InstanceState::Terminated | InstanceState::ShuttingDown
    )
}

/// The public address, while the instance has one.
pub(super) fn public_address(instance: &Instance) -> Option<String> {
    let up = matches!(
        instance.state,
        InstanceState::Pending | InstanceState::Running | InstanceState::Stopping
    );
    (up && instance.show_public).then(|| instance.public_address.to_string())
}

pub(super) fn write_state(xml: &mut Xml, name: &str, state: InstanceState) {
    xml.group(name, |xml| {
        xml.text("code", state.code()).text("name", state.name());
    });
}

pub(super) fn write_groups(xml: &mut Xml, state: &RegionState, groups: &[String]) {
    xml.list("groupSet", groups, |xml, id| {
        xml.text("groupId", id).maybe(
            "groupName",
            state.groups.get(id).map(|group| group.name.as_str()),
        );
    });
}

/// The inside of a reservation: what RunInstances replies and what
/// DescribeInstances lists.
pub(super) fn write_reservation(xml: &mut Xml, state: &RegionState, region: Region, id: &str) {
    let mut instances: Vec<&Instance> = state
        .instances
        .values()
        .filter(|instance| instance.reservation == id)
        .collect();
    instances.sort_by_key(|instance| instance.launch_index);
    write_reservation_of(xml, state, region, id, &instances);
}

pub(super) fn write_reservation_of(
    xml: &mut Xml,
    state: &RegionState,
    region: Region,
    id: &str,
    instances: &[&Instance],
) {
    xml.text("reservationId", id)
        .text("ownerId", ACCOUNT)
        .group("groupSet", |_| {})
        .list("instancesSet", instances, |xml, instance| {
            write_instance(xml, state, region, instance);
        });
}

fn write_instance(xml: &mut Xml, state: &RegionState, region: Region, instance: &Instance) {
    let connected = has_network(instance);
    let public = public_address(instance);
    let private_name = private_dns(instance.private_address, region.name);
    let kind = InstanceType::find(&instance.kind);
    xml.text(
        "architecture",
        if instance.arm { "arm64" } else { "x86_64" },
    );
    write_disks(xml, state, instance);
    xml.text(
        "clientToken",
        instance.client_token.as_deref().unwrap_or_default(),
    )
    .text("ebsOptimized", instance.ebs_optimized)
    .text("enaSupport", true)
    .text("hypervisor", "xen");
    xml.group("networkInterfaceSet", |xml| {
        if connected {
            xml.group("item", |xml| {
                write_interface(xml, state, region, instance, public.as_deref());
            });
        }
    });
    xml.text("rootDeviceName", &instance.root_device)
        .text("rootDeviceType", "ebs");
    if connected {
        write_groups(xml, state, &instance.groups);
        xml.text("sourceDestCheck", true);
    }
    if let Some(Reason { code, message }) = &instance.reason {
        xml.group("stateReason", |xml| {
            xml.text("code", code).text("message", message);
        });
    }
    let tags = instance_tags(state, instance);
    write_tags(
        xml,
        tags.iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    xml.text("virtualizationType", "hvm");
    if let Some(profile) = &instance.profile {
        xml.group("iamInstanceProfile", |xml| {
            xml.text("arn", profile_arn(profile))
                .text("id", profile_id(profile));
        });
    }
    if let Some(request) = &instance.spot_request {
        xml.text("instanceLifecycle", "spot")
            .text("spotInstanceRequestId", request);
    }
    if let Some(kind) = &kind {
        xml.group("cpuOptions", |xml| {
            xml.text("coreCount", kind.vcpus / kind.threads_per_core())
                .text("threadsPerCore", kind.threads_per_core());
        });
    }
    write_options(xml, instance);
    xml.text("instanceId", &instance.id)
        .text("imageId", &instance.image);
    write_state(xml, "instanceState", instance.state);
    xml.text(
        "privateDnsName",
        if connected { private_name.as_str() } else { "" },
    )
    .text("dnsName", public.as_deref().unwrap_or_default())
    .text("reason", &instance.transition)
    .maybe("keyName", instance.key_name.as_ref())
    .text("amiLaunchIndex", instance.launch_index)
    .group("productCodes", |_| {})
    .text("instanceType", &instance.kind)
    .text("launchTime", iso(instance.launched))
    .group("placement", |xml| {
        xml.maybe(
            "availabilityZoneId",
            region.zone(&instance.zone).map(Zone::id),
        )
        .text("groupName", "")
        .text("tenancy", instance.hardware.tenancy())
        .text("availabilityZone", &instance.zone);
    })
    .group("monitoring", |xml| {
        xml.text(
            "state",
            if instance.monitoring {
                "enabled"
            } else {
                "disabled"
            },
        );
    });
    if connected {
        xml.text("subnetId", &instance.subnet)
            .text("vpcId", vpc_id(region))
            .text("privateIpAddress", instance.private_address)
            .maybe("ipAddress", public);
    }
}

fn write_options(xml: &mut Xml, instance: &Instance) {
    let word = |on: bool| if on { "enabled" } else { "disabled" };
    let metadata = instance.metadata;
    xml.group("capacityReservationSpecification", |xml| {
        let none = instance.hardware.no_reservation;
        xml.text(
            "capacityReservationPreference",
            if none { "none" } else { "open" },
        );
    })
    .group("hibernationOptions", |xml| {
        xml.text("configured", false);
    })
    .group("metadataOptions", |xml| {
        xml.text("state", "applied")
            .text(
                "httpTokens",
                if metadata.tokens_required {
                    "required"
                } else {
                    "optional"
                },
            )
            .text("httpPutResponseHopLimit", metadata.hop_limit)
            .text("httpEndpoint", word(metadata.enabled))
            .text("httpProtocolIpv6", "disabled")
            .text("instanceMetadataTags", word(metadata.show_tags));
    })
    .group("enclaveOptions", |xml| {
        xml.text("enabled", instance.hardware.enclaves);
    })
    .maybe("bootMode", instance.firmware.boot_mode.as_ref())
    .text("platformDetails", "Linux/UNIX")
    .text("usageOperation", "RunInstances")
    .text("usageOperationUpdateTime", iso(instance.launched))
    .group("privateDnsNameOptions", |xml| {
        xml.text("hostnameType", "ip-name")
            .text("enableResourceNameDnsARecord", false)
            .text("enableResourceNameDnsAAAARecord", false);
    })
    .group("maintenanceOptions", |xml| {
        xml.text("autoRecovery", "default");
    });
}

fn write_disks(xml: &mut Xml, state: &RegionState, instance: &Instance) {
    let attached = state.volumes_of(instance);
    xml.list(
        "blockDeviceMapping",
        attached,
        |xml, (volume, attachment)| {
            xml.text("deviceName", &attachment.device)
                .group("ebs", |xml| {
                    xml.text("attachTime", iso(attachment.at))
                        .text("deleteOnTermination", attachment.delete_on_termination)
                        .text("status", "attached")
                        .text("volumeId", &volume.id);
                });
        },
    );
}

fn write_interface(
    xml: &mut Xml,
    state: &RegionState,
    region: Region,
    instance: &Instance,
    public: Option<&str>,
) {
    let private_name = private_dns(instance.private_address, region.name);
    let association = |xml: &mut Xml| {
        if let Some(address) = public {
            xml.group("association", |xml| {
                xml.text("ipOwnerId", "amazon")
                    .text("publicDnsName", address)
                    .text("publicIp", address);
            });
        }
    };
    association(xml);
    xml.group("attachment", |xml| {
        xml.text("attachTime", iso(instance.launched))
            .text("attachmentId", &instance.attachment_id)
            .text("deleteOnTermination", instance.interface_delete)
            .text("deviceIndex", 0)
            .text("status", "attached")
            .text("networkCardIndex", 0);
    })
    .text("description", &instance.interface_description);
    write_groups(xml, state, &instance.groups);
    xml.group("ipv6AddressesSet", |_| {})
        .text(
            "macAddress",
            forno_machine::mac_address(instance.private_address),
        )
        .text("networkInterfaceId", &instance.interface)
        .text("ownerId", ACCOUNT)
        .text("privateDnsName", &private_name)
        .text("privateIpAddress", instance.private_address)
        .list("privateIpAddressesSet", [()], |xml, ()| {
            association(xml);
            xml.text("primary", true)
                .text("privateDnsName", &private_name)
                .text("privateIpAddress", instance.private_address);
        })
        .text("sourceDestCheck", true)
        .text("status", "in-use")
        .text("subnetId", &instance.subnet)
        .text("vpcId", vpc_id(region))
        .text("interfaceType", "interface");
}
