//! The launch of a builder.
//!
//! Everything is said in the one RunInstances call: a machine must never exist for a
//! moment without its tags, with IMDSv1, or in a way that shutting down leaves it
//! behind.

use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    HttpTokensState, IamInstanceProfileSpecification, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceType, MarketType, ResourceType,
    ShutdownBehavior, SpotInstanceType, SpotMarketOptions,
};
use base64::Engine;

use crate::block_device::Volumes;
use crate::convert::number;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::{ImageId, SecurityGroupId, SubnetId};
use crate::instance::Instance;
use crate::placement::Placement;
use crate::tag::Tags;

/// How a machine may ask for its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imds {
    /// IMDSv2 only; without it a confused program on the machine can be made to read
    /// its credentials to a stranger.
    pub tokens_required: bool,
    /// Two let containers on the machine ask. `None`: as EC2 has it.
    pub hop_limit: Option<u32>,
}

impl Default for Imds {
    fn default() -> Self {
        Self {
            tokens_required: true,
            hop_limit: None,
        }
    }
}

/// A machine that EC2 may take back, asked for once: nothing of the request is left when
/// the machine has gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// USD per hour. `None`: the price on demand.
    pub max_price: Option<String>,
}

impl Spot {
    fn to_sdk(&self) -> InstanceMarketOptionsRequest {
        let options = SpotMarketOptions::builder()
            .spot_instance_type(SpotInstanceType::OneTime)
            .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
            .set_max_price(self.max_price.clone())
            .build();
        InstanceMarketOptionsRequest::builder()
            .market_type(MarketType::Spot)
            .spot_options(options)
            .build()
    }
}

/// One machine to start, terminated when it shuts down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// A second call with the same token and the same rest makes no second machine.
    /// Vary anything, and the token must be varied too.
    pub client_token: String,
    pub image: ImageId,
    pub instance_type: String,
    pub subnet: Option<SubnetId>,
    pub security_groups: Vec<SecurityGroupId>,
    /// `None`: as the subnet has it.
    pub public_address: Option<bool>,
    pub key_name: Option<String>,
    pub user_data: Option<String>,
    pub volumes: Volumes,
    /// Its name, for machines that may call AWS.
    pub instance_profile: Option<String>,
    pub imds: Imds,
    /// `None`: on demand.
    pub spot: Option<Spot>,
    pub placement: Placement,
    /// On instance, volumes and network interface, from the first moment.
    pub tags: Tags,
}

impl Gateway {
    /// Starts one machine. What EC2 has no capacity for is told at once; the next
    /// zone or type is the caller's to try.
    pub async fn run_instance(&self, launch: &Launch) -> Result<Instance, Error> {
        let call = self.call("RunInstances").on(format_args!(
            "{} from {}",
            launch.instance_type, launch.image
        ));
        let reply = self
            .run_instances_request(launch)
            .customize()
            .interceptor(call.watch::<RunInstancesError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let instance = reply
            .instances
            .into_iter()
            .flatten()
            .next()
            .ok_or_else(|| call.malformed("no instance in it"))?;
        Instance::from_sdk(instance).map_err(|nonsense| call.malformed(nonsense))
    }

    pub(crate) fn run_instances_request(&self, launch: &Launch) -> RunInstancesFluentBuilder {
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_tokens(if launch.imds.tokens_required {
                HttpTokensState::Required
            } else {
                HttpTokensState::Optional
            })
            .set_http_put_response_hop_limit(launch.imds.hop_limit.map(number))
            .build();
        let request = self
            .clients()
            .ec2
            .run_instances()
            .client_token(&launch.client_token)
            .image_id(launch.image.as_str())
            .instance_type(InstanceType::from(launch.instance_type.as_str()))
            .min_count(1)
            .max_count(1)
            .set_key_name(launch.key_name.clone())
            .set_user_data(
                launch
                    .user_data
                    .as_ref()
                    .map(|data| base64::engine::general_purpose::STANDARD.encode(data)),
            )
            .set_block_device_mappings(launch.volumes.mappings())
            .metadata_options(metadata)
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .set_iam_instance_profile(launch.instance_profile.as_ref().map(|name| {
                IamInstanceProfileSpecification::builder()
                    .name(name)
                    .build()
            }))
            .set_instance_market_options(launch.spot.as_ref().map(Spot::to_sdk))
            // Not the Spot request: it ends with its machine, and nobody looks for it.
            .set_tag_specifications(launch.tags.specifications(&[
                ResourceType::Instance,
                ResourceType::Volume,
                ResourceType::NetworkInterface,
            ]));
        let request = launch.placement.asked(request);
        let groups: Vec<String> = launch
            .security_groups
            .iter()
            .map(ToString::to_string)
            .collect();
        let groups = (!groups.is_empty()).then_some(groups);
        let subnet = launch.subnet.as_ref().map(ToString::to_string);
        match launch.public_address {
            None => request.set_subnet_id(subnet).set_security_group_ids(groups),
            // Whoever decides about the address has to describe the interface.
            Some(public) => request.network_interfaces(
                InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .delete_on_termination(true)
                    .associate_public_ip_address(public)
                    .set_subnet_id(subnet)
                    .set_groups(groups)
                    .build(),
            ),
        }
    }
}
