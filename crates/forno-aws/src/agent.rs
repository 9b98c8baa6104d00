//! The SSM agents of instances, and how the account lets them register.

use aws_sdk_ssm::types::{InstanceInformationStringFilter, PingStatus};
use jiff::Timestamp;

use crate::convert::timestamp;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::InstanceId;

/// The setting by which instances without a profile of their own are managed. Its
/// value is the name of a role.
const DEFAULT_HOST_MANAGEMENT: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

/// An agent that has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Otherwise its connection is lost.
    pub online: bool,
    pub last_ping: Option<Timestamp>,
    pub version: Option<String>,
}

impl Gateway {
    /// The agent of an instance; none when it has never registered.
    pub async fn agent(&self, instance: &InstanceId) -> Result<Option<Agent>, Error> {
        let call = self.call("DescribeInstanceInformation").on(instance);
        let filter = InstanceInformationStringFilter::builder()
            .key("InstanceIds")
            .values(instance.as_str())
            .build()
            .map_err(|error| call.malformed(error))?;
        let reply = self
            .clients()
            .ssm
            .describe_instance_information()
            .filters(filter)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let found = reply.instance_information_list.into_iter().flatten().next();
        Ok(found.map(|agent| Agent {
            online: agent.ping_status == Some(PingStatus::Online),
            last_ping: timestamp(agent.last_ping_date_time),
            version: agent.agent_version,
        }))
    }

    /// The role of default host management in this region, if it is switched on.
    pub async fn default_host_management(&self) -> Result<Option<String>, Error> {
        const OFF: &str = "$None";
        let call = self.call("GetServiceSetting").on(DEFAULT_HOST_MANAGEMENT);
        let reply = self
            .clients()
            .ssm
            .get_service_setting()
            .setting_id(DEFAULT_HOST_MANAGEMENT)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let value = reply.service_setting.and_then(|set| set.setting_value);
        Ok(value.filter(|role| !role.is_empty() && role != OFF))
    }
}
