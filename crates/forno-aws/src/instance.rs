//! Instances: seen, stopped, started, ended.

use std::fmt;
use std::net::Ipv4Addr;

use aws_sdk_ec2::operation::reboot_instances::RebootInstancesError;
use aws_sdk_ec2::operation::start_instances::StartInstancesError;
use aws_sdk_ec2::operation::stop_instances::StopInstancesError;
use aws_sdk_ec2::operation::terminate_instances::TerminateInstancesError;
use aws_sdk_ec2::types::{
    Instance as SdkInstance, InstanceLifecycleType, InstanceStateName, Reservation,
    StateReason as SdkStateReason,
};
use base64::Engine;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::convert::{Nonsense, non_empty, optional_id, required, timestamp};
use crate::error::{Error, Kind};
use crate::gateway::{Clients, Gateway};
use crate::ids::{ImageId, InstanceId, SecurityGroupId, SubnetId, VolumeId, VpcId};
use crate::tag::{MOST_PER_FILTER, TagMatch, Tags, filter, literal, tag_filters};

/// An instance as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    pub image: Option<ImageId>,
    pub state: InstanceState,
    /// Why it is in this state, where EC2 says.
    pub state_reason: Option<StateReason>,
    pub instance_type: String,
    /// Bought as a Spot Instance, once: it can be rebooted and terminated, not stopped.
    pub is_spot: bool,
    pub public_address: Option<Ipv4Addr>,
    pub private_address: Option<Ipv4Addr>,
    pub availability_zone: Option<String>,
    pub subnet: Option<SubnetId>,
    pub vpc: Option<VpcId>,
    pub security_groups: Vec<SecurityGroupId>,
    pub root_device: Option<String>,
    /// Device and volume, as attached now.
    pub volumes: Vec<(String, VolumeId)>,
    pub key_name: Option<String>,
    pub client_token: Option<String>,
    pub launched: Option<Timestamp>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
    Other(String),
}

impl InstanceState {
    /// On its way out or gone: it costs nothing any more and comes back never.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Other(state) => state,
        })
    }
}

/// EC2's reason for a state, such as `Client.InternalError`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    pub code: String,
    pub message: String,
}

impl StateReason {
    /// AWS's own doing (capacity, a fault, a Spot interruption): worth another try
    /// elsewhere.
    pub fn is_on_their_side(&self) -> bool {
        self.code.starts_with("Server.")
    }

    /// What to do about it, for the line `hint: …`.
    pub fn hint(&self) -> Option<&'static str> {
        match self.code.as_str() {
            "Client.InternalError" => Some(
                "most often the KMS key of an encrypted volume: the role needs kms:CreateGrant, kms:Decrypt and kms:GenerateDataKeyWithoutPlaintext on it",
            ),
            "Client.InvalidSnapshot.NotFound" => {
                Some("a snapshot under the image is gone: choose another source image")
            }
            "Client.VolumeLimitExceeded" => {
                Some("the quota for EBS storage is used up; ask for more under Service Quotas")
            }
            "Client.InstanceInitiatedShutdown" => {
                Some("the machine shut itself down: a step did, or its time was over")
            }
            "Client.UserInitiatedShutdown" => {
                Some("somebody stopped or terminated it through the API; CloudTrail knows who")
            }
            "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown" => {
                Some("EC2 took the Spot machine back: bake again, or on demand")
            }
            _ => None,
        }
    }

    pub(crate) fn from_sdk(reason: SdkStateReason) -> Self {
        Self {
            code: reason.code.unwrap_or_default(),
            message: reason.message.unwrap_or_default(),
        }
    }
}

impl fmt::Display for StateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // EC2's message mostly begins with the code.
        if self.message.is_empty() {
            f.write_str(&self.code)
        } else if self.message.starts_with(&self.code) {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.code, self.message)
        }
    }
}

impl Gateway {
    /// Many at once, in one call. Those that EC2 does not know (yet) are left out.
    pub async fn instances(&self, ids: &[InstanceId]) -> Result<Vec<Instance>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(describe(self.clients(), ids)
            .await?
            .into_iter()
            .map(|(_, instance)| instance)
            .collect())
    }

    /// All with these tags, in whatever state; terminated ones show for about an
    /// hour.
    pub async fn instances_tagged(&self, conditions: &[TagMatch]) -> Result<Vec<Instance>, Error> {
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        find(self.clients(), tag_filters(conditions)).await
    }

    /// What a launch with this token made.
    pub async fn instances_of_token(&self, token: &str) -> Result<Vec<Instance>, Error> {
        find(
            self.clients(),
            vec![filter("client-token", [literal(token)])],
        )
        .await
    }

    /// What was started from these images, in whatever state, by whomever.
    pub async fn instances_of_images(&self, images: &[ImageId]) -> Result<Vec<Instance>, Error> {
        let images = images.iter().map(ImageId::as_str);
        self.instances_where("image-id", images).await
    }

    /// What these groups hold, in whatever state.
    pub async fn instances_of_groups(
        &self,
        groups: &[SecurityGroupId],
    ) -> Result<Vec<Instance>, Error> {
        let groups = groups.iter().map(SecurityGroupId::as_str);
        self.instances_where("instance.group-id", groups).await
    }

    /// What was started with a key pair whose name is like this pattern, with `*`
    /// and `?` as EC2 understands them.
    pub async fn instances_of_keys_like(&self, pattern: &str) -> Result<Vec<Instance>, Error> {
        self.instances_where("key-name", [pattern]).await
    }

    async fn instances_where(
        &self,
        name: &str,
        values: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Instance>, Error> {
        let values: Vec<&str> = values.into_iter().collect();
        let mut found = Vec::new();
        for values in values.chunks(MOST_PER_FILTER) {
            let by = filter(name, values.iter().copied());
            found.extend(find(self.clients(), vec![by]).await?);
        }
        Ok(found)
    }

    /// Asks the machine to shut down.
    pub async fn stop_instance(&self, id: &InstanceId) -> Result<(), Error> {
        let call = self.call("StopInstances").on(id);
        self.clients()
            .ec2
            .stop_instances()
            .instance_ids(id.as_str())
            .customize()
            .interceptor(call.watch::<StopInstancesError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    pub async fn start_instance(&self, id: &InstanceId) -> Result<(), Error> {
        let call = self.call("StartInstances").on(id);
        self.clients()
            .ec2
            .start_instances()
            .instance_ids(id.as_str())
            .customize()
            .interceptor(call.watch::<StartInstancesError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    pub async fn reboot_instance(&self, id: &InstanceId) -> Result<(), Error> {
        let call = self.call("RebootInstances").on(id);
        self.clients()
            .ec2
            .reboot_instances()
            .instance_ids(id.as_str())
            .customize()
            .interceptor(call.watch::<RebootInstancesError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// Ends it for good. `skip_os_shutdown` pulls the plug instead of shutting the
    /// system down: right once nothing on the machine matters any more.
    ///
    /// NotFound does not prove that it is gone: EC2 may not know it yet.
    pub async fn terminate_instance(
        &self,
        id: &InstanceId,
        skip_os_shutdown: bool,
    ) -> Result<(), Error> {
        let call = self.call("TerminateInstances").on(id);
        self.clients()
            .ec2
            .terminate_instances()
            .instance_ids(id.as_str())
            .set_skip_os_shutdown(skip_os_shutdown.then_some(true))
            .customize()
            .interceptor(call.watch::<TerminateInstancesError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// What the machine wrote to its serial console; `None` when EC2 has nothing
    /// yet.
    pub async fn console_output(&self, id: &InstanceId) -> Result<Option<String>, Error> {
        match self.console(id, Some(true)).await {
            // Machines not on Nitro have only the output of the last boot.
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::InvalidInput) => {
                self.console(id, None).await
            }
            other => other,
        }
    }

    async fn console(
        &self,
        id: &InstanceId,
        latest: Option<bool>,
    ) -> Result<Option<String>, Error> {
        let call = self.call("GetConsoleOutput").on(id);
        let reply = self
            .clients()
            .ec2
            .get_console_output()
            .instance_id(id.as_str())
            .set_latest(latest)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let Some(encoded) = non_empty(reply.output) else {
            return Ok(None);
        };
        // EC2 breaks the lines of its base64.
        let encoded: String = encoded
            .chars()
            .filter(|character| !character.is_ascii_whitespace())
            .collect();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|error| call.malformed(error))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Those of the ids that EC2 knows. By filter, because one unknown id among
/// `InstanceId` parameters fails the whole call.
pub(crate) async fn describe(
    clients: &Clients,
    ids: &[InstanceId],
) -> Result<Vec<(InstanceId, Instance)>, Error> {
    let ids = filter("instance-id", ids.iter().map(InstanceId::as_str));
    Ok(find(clients, vec![ids])
        .await?
        .into_iter()
        .map(|instance| (instance.id.clone(), instance))
        .collect())
}

async fn find(
    clients: &Clients,
    filters: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Vec<Instance>, Error> {
    let call = clients.call("DescribeInstances");
    let pages = clients
        .ec2
        .describe_instances()
        .set_filters(Some(filters))
        .into_paginator()
        .items()
        .send();
    pages
        .collect::<Result<Vec<Reservation>, _>>()
        .await
        .map_err(|error| call.failed(&error))?
        .into_iter()
        .flat_map(|reservation| reservation.instances.unwrap_or_default())
        .map(Instance::from_sdk)
        .collect::<Result<_, _>>()
        .map_err(|nonsense| call.malformed(nonsense))
}

impl Instance {
    pub(crate) fn from_sdk(instance: SdkInstance) -> Result<Self, Nonsense> {
        let state = instance.state.and_then(|state| state.name);
        let volumes = instance
            .block_device_mappings
            .into_iter()
            .flatten()
            .filter_map(|mapping| Some((mapping.device_name?, mapping.ebs?.volume_id?)))
            .map(|(device, volume)| Ok((device, VolumeId::new(volume)?)))
            .collect::<Result<Vec<_>, Nonsense>>()?;
        let security_groups = instance
            .security_groups
            .into_iter()
            .flatten()
            .filter_map(|group| group.group_id)
            .map(SecurityGroupId::new)
            .collect::<Result<Vec<_>, _>>()?;
        let address = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Ok(Self {
            id: InstanceId::new(required(instance.instance_id, "the instance id")?)?,
            image: optional_id(instance.image_id)?,
            state: state_name(&required(state, "the state of an instance")?),
            state_reason: instance
                .state_reason
                .map(StateReason::from_sdk)
                .filter(|reason| !reason.code.is_empty() || !reason.message.is_empty()),
            instance_type: instance
                .instance_type
                .map(|kind| kind.as_str().to_owned())
                .unwrap_or_default(),
            is_spot: instance.instance_lifecycle == Some(InstanceLifecycleType::Spot),
            public_address: address(instance.public_ip_address),
            private_address: address(instance.private_ip_address),
            availability_zone: instance
                .placement
                .and_then(|placement| placement.availability_zone),
            subnet: optional_id(instance.subnet_id)?,
            vpc: optional_id(instance.vpc_id)?,
            security_groups,
            root_device: non_empty(instance.root_device_name),
            volumes,
            key_name: non_empty(instance.key_name),
            client_token: non_empty(instance.client_token),
            launched: timestamp(instance.launch_time),
            tags: Tags::from_sdk(instance.tags),
        })
    }
}

fn state_name(name: &InstanceStateName) -> InstanceState {
    match name {
        InstanceStateName::Pending => InstanceState::Pending,
        InstanceStateName::Running => InstanceState::Running,
        InstanceStateName::ShuttingDown => InstanceState::ShuttingDown,
        InstanceStateName::Terminated => InstanceState::Terminated,
        InstanceStateName::Stopping => InstanceState::Stopping,
        InstanceStateName::Stopped => InstanceState::Stopped,
        other => InstanceState::Other(other.as_str().to_owned()),
    }
}
