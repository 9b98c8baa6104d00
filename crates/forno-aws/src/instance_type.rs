//! Instance types: what they are, and where they can be had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_sdk_ec2::types::{InstanceType as SdkInstanceType, InstanceTypeInfo, LocationType};
use serde::{Deserialize, Serialize};

use crate::convert::{count, required};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::tag::filter;

/// A processor architecture, in EC2's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Architecture {
    X86_64,
    Arm64,
    Other(String),
}

impl Architecture {
    pub fn as_str(&self) -> &str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Architecture {
    fn from(name: &str) -> Self {
        match name {
            "x86_64" => Self::X86_64,
            "arm64" => Self::Arm64,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<String> for Architecture {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<Architecture> for String {
    fn from(architecture: Architecture) -> Self {
        architecture.as_str().to_owned()
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a type of machine can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    pub name: String,
    pub architectures: Vec<Architecture>,
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub bare_metal: bool,
    pub burstable: bool,
    /// `legacy-bios`, `uefi`.
    pub boot_modes: Vec<String>,
}

impl Gateway {
    /// The facts about these types. One that the region does not have is an error
    /// of EC2's (`InvalidInstanceType`).
    pub async fn instance_types(&self, names: &[&str]) -> Result<Vec<InstanceType>, Error> {
        let call = self.call("DescribeInstanceTypes").on(names.join(", "));
        let pages = self
            .clients()
            .ec2
            .describe_instance_types()
            .set_instance_types(Some(
                names
                    .iter()
                    .map(|name| SdkInstanceType::from(*name))
                    .collect(),
            ))
            .into_paginator()
            .items()
            .send();
        pages
            .collect::<Result<Vec<InstanceTypeInfo>, _>>()
            .await
            .map_err(|error| call.failed(&error))?
            .into_iter()
            .map(InstanceType::from_sdk)
            .collect::<Result<_, _>>()
            .map_err(|missing| call.malformed(missing))
    }

    /// In which availability zones each of these types is offered. A type that is
    /// offered nowhere has no entry.
    pub async fn offerings(
        &self,
        names: &[&str],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
        let call = self
            .call("DescribeInstanceTypeOfferings")
            .on(names.join(", "));
        let pages = self
            .clients()
            .ec2
            .describe_instance_type_offerings()
            .location_type(LocationType::AvailabilityZone)
            .filters(filter("instance-type", names.iter().copied()))
            .into_paginator()
            .items()
            .send();
        let offerings = pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| call.failed(&error))?;
        let mut zones: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for offering in offerings {
            if let (Some(kind), Some(zone)) = (offering.instance_type, offering.location) {
                zones
                    .entry(kind.as_str().to_owned())
                    .or_default()
                    .insert(zone);
            }
        }
        Ok(zones)
    }
}

impl InstanceType {
    fn from_sdk(info: InstanceTypeInfo) -> Result<Self, crate::convert::Missing> {
        Ok(Self {
            name: required(info.instance_type, "the instance type")?
                .as_str()
                .to_owned(),
            architectures: info
                .processor_info
                .and_then(|processor| processor.supported_architectures)
                .unwrap_or_default()
                .iter()
                .map(|architecture| Architecture::from(architecture.as_str()))
                .collect(),
            vcpus: count(info.v_cpu_info.and_then(|cpus| cpus.default_v_cpus)),
            memory_mib: info
                .memory_info
                .and_then(|memory| memory.size_in_mib)
                .and_then(|size| u64::try_from(size).ok()),
            bare_metal: info.bare_metal.unwrap_or(false),
            burstable: info.burstable_performance_supported.unwrap_or(false),
            boot_modes: info
                .supported_boot_modes
                .unwrap_or_default()
                .iter()
                .map(|mode| mode.as_str().to_owned())
                .collect(),
        })
    }
}
