//! DescribeInstanceTypes and DescribeInstanceTypeOfferings.

use super::call::Call;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::state::types::InstanceType;

const FILTERS: &[&str] = &[
    "auto-recovery-supported",
    "bare-metal",
    "burstable-performance-supported",
    "current-generation",
    "dedicated-hosts-supported",
    "free-tier-eligible",
    "hibernation-supported",
    "hypervisor",
    "instance-storage-supported",
    "instance-type",
    "memory-info.size-in-mib",
    "network-info.ena-support",
    "processor-info.supported-architecture",
    "supported-boot-mode",
    "supported-root-device-type",
    "supported-usage-class",
    "supported-virtualization-type",
    "vcpu-info.default-cores",
    "vcpu-info.default-vcpus",
    "vcpu-info.default-threads-per-core",
];

pub(super) fn describe_instance_types(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, false)?;
    let page = Page::read(call.form, &call.params, 5..=100)?;
    let names = call.params.list("InstanceType");
    if !names.is_empty() && page.asked() {
        return Err(ApiError::combination(
            "The parameter InstanceTypes cannot be used with the parameter MaxResults",
        ));
    }
    call.params.flag("IncludeUnsupportedInRegion")?;
    let mut types = InstanceType::all();
    let unknown: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| types.iter().all(|kind| kind.name != *name))
        .collect();
    if !unknown.is_empty() {
        return Err(ApiError::new(
            "InvalidInstanceType",
            format!(
                "The following supplied instance types do not exist: [{}]",
                unknown.join(", ")
            ),
        ));
    }
    types.retain(|kind| names.is_empty() || names.contains(&kind.name.as_str()));
    types.retain(|kind| {
        filters.select(std::iter::empty(), |filter| {
            vec![filter_value(kind, filter)]
        })
    });
    let (types, next) = page.cut(types, |kind| kind.name.clone());
    xml.list("instanceTypeSet", &types, write_type);
    xml.maybe("nextToken", next);
    Ok(())
}

fn filter_value(kind: &InstanceType, filter: &str) -> String {
    match filter {
        "auto-recovery-supported"
        | "bare-metal"
        | "dedicated-hosts-supported"
        | "hibernation-supported"
        | "instance-storage-supported" => "false".to_owned(),
        "burstable-performance-supported" => kind.burstable.to_string(),
        "current-generation" => kind.current.to_string(),
        "free-tier-eligible" => kind.free_tier.to_string(),
        "hypervisor" => hypervisor(kind).to_owned(),
        "memory-info.size-in-mib" => kind.memory_mib.to_string(),
        "network-info.ena-support" => ena(kind).to_owned(),
        "processor-info.supported-architecture" => kind.architecture().to_owned(),
        "supported-boot-mode" => (if kind.arm { "uefi" } else { "legacy-bios" }).to_owned(),
        "supported-root-device-type" => "ebs".to_owned(),
        "supported-usage-class" => "on-demand".to_owned(),
        "supported-virtualization-type" => "hvm".to_owned(),
        "vcpu-info.default-cores" => (kind.vcpus / kind.threads_per_core()).to_string(),
        "vcpu-info.default-vcpus" => kind.vcpus.to_string(),
        "vcpu-info.default-threads-per-core" => kind.threads_per_core().to_string(),
        _ => kind.name.clone(),
    }
}

fn hypervisor(kind: &InstanceType) -> &'static str {
    if kind.nitro { "nitro" } else { "xen" }
}

fn ena(kind: &InstanceType) -> &'static str {
    if kind.nitro {
        "required"
    } else {
        "unsupported"
    }
}

fn write_type(xml: &mut Xml, kind: &InstanceType) {
    let boot_modes: &[&str] = match (kind.arm, kind.nitro) {
        (true, _) => &["uefi"],
        (false, true) => &["legacy-bios", "uefi"],
        (false, false) => &["legacy-bios"],
    };
    xml.text("instanceType", &kind.name)
        .text("currentGeneration", kind.current)
        .text("freeTierEligible", kind.free_tier)
        .leaves("supportedUsageClasses", ["on-demand"])
        .leaves("supportedRootDeviceTypes", ["ebs"])
        .leaves("supportedVirtualizationTypes", ["hvm"])
        .text("bareMetal", false)
        .text("hypervisor", hypervisor(kind))
        .group("processorInfo", |xml| {
            xml.leaves("supportedArchitectures", [kind.architecture()])
                .text("sustainedClockSpeedInGhz", kind.clock_ghz)
                .text("manufacturer", kind.manufacturer);
        })
        .group("vCpuInfo", |xml| {
            xml.text("defaultVCpus", kind.vcpus)
                .text("defaultCores", kind.vcpus / kind.threads_per_core())
                .text("defaultThreadsPerCore", kind.threads_per_core());
        })
        .group("memoryInfo", |xml| {
            xml.text("sizeInMiB", kind.memory_mib);
        })
        .text("instanceStorageSupported", false)
        .group("ebsInfo", |xml| {
            xml.text(
                "ebsOptimizedSupport",
                if kind.nitro { "default" } else { "unsupported" },
            )
            .text("encryptionSupport", "supported")
            .text(
                "nvmeSupport",
                if kind.nitro {
                    "required"
                } else {
                    "unsupported"
                },
            );
        })
        .group("networkInfo", |xml| {
            xml.text("networkPerformance", "Loopback")
                .text("maximumNetworkInterfaces", 1)
                .text("maximumNetworkCards", 1)
                .text("defaultNetworkCardIndex", 0)
                .text("ipv4AddressesPerInterface", 1)
                .text("ipv6AddressesPerInterface", 0)
                .text("ipv6Supported", false)
                .text("enaSupport", ena(kind))
                .text("efaSupported", false);
        })
        .group("placementGroupInfo", |xml| {
            xml.group("supportedStrategies", |_| {});
        })
        .text("hibernationSupported", false)
        .text("burstablePerformanceSupported", kind.burstable)
        .text("dedicatedHostsSupported", false)
        .text("autoRecoverySupported", false)
        .leaves("supportedBootModes", boot_modes);
}

pub(super) fn describe_instance_type_offerings(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, &["instance-type", "location"], false)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let sorts = [
        "region",
        "availability-zone",
        "availability-zone-id",
        "outpost",
    ];
    let sort = call
        .params
        .choice("LocationType", &sorts)?
        .unwrap_or("region");
    let region = call.region;
    let locations: Vec<String> = match sort {
        "region" => vec![region.name.to_owned()],
        "availability-zone" => region.zones().iter().map(|zone| zone.name()).collect(),
        "availability-zone-id" => region.zones().iter().map(|zone| zone.id()).collect(),
        _ => Vec::new(),
    };
    let mut offers: Vec<(String, String)> = InstanceType::all()
        .into_iter()
        .flat_map(|kind| {
            locations
                .iter()
                .map(move |location| (kind.name.clone(), location.clone()))
        })
        .collect();
    offers.retain(|(kind, location)| {
        filters.select(std::iter::empty(), |filter| {
            vec![if filter == "location" {
                location.clone()
            } else {
                kind.clone()
            }]
        })
    });
    let key = |offer: &(String, String)| format!("{} {}", offer.0, offer.1);
    offers.sort_by_key(key);
    let (offers, next) = page.cut(offers, key);
    xml.list(
        "instanceTypeOfferingSet",
        offers,
        |xml, (kind, location)| {
            xml.text("instanceType", kind)
                .text("locationType", sort)
                .text("location", location);
        },
    );
    xml.maybe("nextToken", next);
    Ok(())
}
