//! Where things are: regions, zones, the default VPC and its subnets.

use super::call::{Call, arn};
use super::tags::write_tags;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::network::{SUBNET_ADDRESSES, VPC_CIDR, dhcp_options_id, subnets, vpc_id};
use crate::state::regions::{REGIONS, Zone};
use crate::state::world::{ACCOUNT, InstanceState};

pub(super) fn describe_regions(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(
        &call.params,
        &["endpoint", "opt-in-status", "region-name"],
        false,
    )?;
    let names = call.params.list("RegionName");
    // All regions here need no opt-in, so the flag changes nothing.
    call.params.flag("AllRegions")?;
    if let Some(unknown) = names
        .iter()
        .find(|name| REGIONS.iter().all(|region| region.name != **name))
    {
        return Err(ApiError::invalid(format!(
            "Invalid region provided: {unknown}"
        )));
    }
    let endpoint = |name: &str| format!("ec2.{name}.amazonaws.com");
    let regions = REGIONS
        .iter()
        .filter(|region| names.is_empty() || names.contains(&region.name))
        .filter(|region| {
            filters.select(std::iter::empty(), |filter| match filter {
                "endpoint" => vec![endpoint(region.name)],
                "opt-in-status" => vec!["opt-in-not-required".to_owned()],
                _ => vec![region.name.to_owned()],
            })
        });
    xml.list("regionInfo", regions, |xml, region| {
        xml.text("optInStatus", "opt-in-not-required")
            .text("regionName", region.name)
            .text("regionEndpoint", endpoint(region.name));
    });
    Ok(())
}

pub(super) fn describe_availability_zones(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    const FILTERS: &[&str] = &[
        "group-name",
        "message",
        "opt-in-status",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-state",
        "zone-type",
    ];
    let filters = Filters::read(&call.params, FILTERS, false)?;
    call.params.flag("AllAvailabilityZones")?;
    let (names, ids) = (call.params.list("ZoneName"), call.params.list("ZoneId"));
    let zones = call.region.zones();
    for (given, known) in [(&names, zones.map(Zone::name)), (&ids, zones.map(Zone::id))] {
        if let Some(unknown) = given
            .iter()
            .find(|name| !known.iter().any(|known| known == *name))
        {
            return Err(ApiError::invalid(format!(
                "Invalid availability zone: [{unknown}]"
            )));
        }
    }
    let region = call.region.name;
    let selected = zones
        .into_iter()
        .filter(|zone| names.is_empty() || names.contains(&zone.name().as_str()))
        .filter(|zone| ids.is_empty() || ids.contains(&zone.id().as_str()))
        .filter(|zone| {
            filters.select(std::iter::empty(), |filter| match filter {
                "group-name" => vec![format!("{region}-zg-1")],
                "opt-in-status" => vec!["opt-in-not-required".to_owned()],
                "region-name" => vec![region.to_owned()],
                "state" | "zone-state" => vec!["available".to_owned()],
                "zone-id" => vec![zone.id()],
                "zone-name" => vec![zone.name()],
                "zone-type" => vec!["availability-zone".to_owned()],
                _ => Vec::new(),
            })
        });
    xml.list("availabilityZoneInfo", selected, |xml, zone| {
        xml.text("optInStatus", "opt-in-not-required")
            .group("messageSet", |_| {})
            .text("regionName", region)
            .text("zoneName", zone.name())
            .text("zoneId", zone.id())
            .text("groupName", format!("{region}-zg-1"))
            .text("networkBorderGroup", region)
            .text("zoneType", "availability-zone")
            .text("zoneState", "available");
    });
    Ok(())
}

pub(super) fn describe_vpcs(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    const FILTERS: &[&str] = &[
        "cidr",
        "cidr-block",
        "cidr-block-association.cidr-block",
        "dhcp-options-id",
        "is-default",
        "isDefault",
        "owner-id",
        "state",
        "vpc-id",
    ];
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let ids = call.params.list("VpcId");
    let region = call.region;
    let vpc = vpc_id(region);
    for id in &ids {
        Resource::Vpc.check(id)?;
        if *id != vpc {
            return Err(Resource::Vpc.not_found(id));
        }
    }
    let state = call.state();
    let selected = filters.select(state.tags_of(&vpc), |filter| {
        vec![match filter {
            "cidr" | "cidr-block" | "cidr-block-association.cidr-block" => VPC_CIDR.to_owned(),
            "dhcp-options-id" => dhcp_options_id(region),
            "is-default" | "isDefault" => "true".to_owned(),
            "owner-id" => ACCOUNT.to_owned(),
            "state" => "available".to_owned(),
            _ => vpc.clone(),
        }]
    });
    let (vpcs, next) = page.cut(selected.then_some(vpc).into_iter().collect(), Clone::clone);
    xml.list("vpcSet", vpcs, |xml, vpc| {
        xml.text("ownerId", ACCOUNT)
            .text("instanceTenancy", "default")
            .list("cidrBlockAssociationSet", [()], |xml, ()| {
                xml.text(
                    "associationId",
                    Resource::Vpc
                        .derived(region.name)
                        .replacen("vpc-", "vpc-cidr-assoc-", 1),
                )
                .text("cidrBlock", VPC_CIDR)
                .group("cidrBlockState", |xml| {
                    xml.text("state", "associated");
                });
            })
            .text("isDefault", true);
        write_tags(xml, state.tags_of(&vpc));
        xml.text("vpcId", &vpc)
            .text("state", "available")
            .text("cidrBlock", VPC_CIDR)
            .text("dhcpOptionsId", dhcp_options_id(region));
    });
    xml.maybe("nextToken", next);
    Ok(())
}

pub(super) fn describe_subnets(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    const FILTERS: &[&str] = &[
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "available-ip-address-count",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "default-for-az",
        "defaultForAz",
        "map-public-ip-on-launch",
        "owner-id",
        "state",
        "subnet-arn",
        "subnet-id",
        "vpc-id",
    ];
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let ids = call.params.list("SubnetId");
    let region = call.region;
    let mut all = subnets(region);
    for id in &ids {
        Resource::Subnet.check(id)?;
        if all.iter().all(|subnet| subnet.id != *id) {
            return Err(Resource::Subnet.not_found(id));
        }
    }
    let state = call.state();
    let free = |subnet: &str| {
        let used = state.instances.values().filter(|instance| {
            instance.subnet == subnet && instance.state != InstanceState::Terminated
        });
        SUBNET_ADDRESSES - used.count()
    };
    all.retain(|subnet| ids.is_empty() || ids.contains(&subnet.id.as_str()));
    all.retain(|subnet| {
        filters.select(state.tags_of(&subnet.id), |filter| {
            vec![match filter {
                "availability-zone" | "availabilityZone" => subnet.zone.name(),
                "availability-zone-id" => subnet.zone.id(),
                "available-ip-address-count" => free(&subnet.id).to_string(),
                "cidr" | "cidr-block" | "cidrBlock" => subnet.cidr(),
                "default-for-az" | "defaultForAz" | "map-public-ip-on-launch" => "true".to_owned(),
                "owner-id" => ACCOUNT.to_owned(),
                "state" => "available".to_owned(),
                "subnet-arn" => arn(region, ACCOUNT, Resource::Subnet, &subnet.id),
                "vpc-id" => vpc_id(region),
                _ => subnet.id.clone(),
            }]
        })
    });
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let (subnets, next) = page.cut(all, |subnet| subnet.id.clone());
    xml.list("subnetSet", subnets, |xml, subnet| {
        xml.text("availabilityZoneId", subnet.zone.id())
            .text("mapCustomerOwnedIpOnLaunch", false)
            .text("ownerId", ACCOUNT)
            .text("assignIpv6AddressOnCreation", false)
            .group("ipv6CidrBlockAssociationSet", |_| {});
        write_tags(xml, state.tags_of(&subnet.id));
        xml.text(
            "subnetArn",
            arn(region, ACCOUNT, Resource::Subnet, &subnet.id),
        )
        .text("enableDns64", false)
        .text("ipv6Native", false)
        .group("privateDnsNameOptionsOnLaunch", |xml| {
            xml.text("hostnameType", "ip-name")
                .text("enableResourceNameDnsARecord", false)
                .text("enableResourceNameDnsAAAARecord", false);
        })
        .text("subnetId", &subnet.id)
        .text("state", "available")
        .text("vpcId", vpc_id(region))
        .text("cidrBlock", subnet.cidr())
        .text("availableIpAddressCount", free(&subnet.id))
        .text("availabilityZone", subnet.zone.name())
        .text("defaultForAz", true)
        .text("mapPublicIpOnLaunch", true);
    });
    xml.maybe("nextToken", next);
    Ok(())
}
