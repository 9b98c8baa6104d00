//! The gateway to EC2, and to what of IAM, SSM, S3 and STS a bake needs: the only crate that names the AWS SDK.
//!
//! Domain types in, domain types out. Whoever bakes never sees an SDK type, never
//! compiles the SDK, and never has to know which of its errors means that a call
//! may have taken effect although no answer came ([`Error::outcome`]).
//!
//! [`Gateway::connect`] takes an [`Access`]: where, and as whom. What a machine
//! calls AWS or calls the pocket EC2 by is the same thing with another endpoint.
//! Each resource has its file with its type and its calls. Waiting is
//! [`Wait`]; the SDK's own waiters poll too seldom, give up by number of attempts
//! and say nothing meanwhile.

mod access;
mod agent;
mod attempts;
mod batch;
mod block_device;
mod bucket;
mod cidr;
mod codes;
mod command;
mod convert;
#[cfg(feature = "kms")]
mod data_key;
mod denial;
mod error;
mod gateway;
mod harmless;
mod identity;
mod ids;
mod image;
mod instance;
mod instance_profile;
mod instance_type;
mod key_pair;
mod launch;
mod launch_template;
mod object;
mod parameter;
mod placement;
mod preflight;
mod publish;
mod region;
mod register;
mod resource;
mod role;
mod security_group;
mod session;
mod snapshot;
mod states;
mod subnet;
mod tag;
mod wait;

pub use access::{Access, Limits, StaticCredentials};
pub use agent::Agent;
pub use block_device::{Volume, VolumeType, Volumes};
pub use bucket::Bucket;
pub use cidr::{Cidr, InvalidCidr};
pub use command::{Invocation, InvocationOutput};
#[cfg(feature = "kms")]
pub use data_key::DataKey;
pub use denial::{Denial, denial_code, without_denial_code};
pub use error::{Error, Kind, Outcome};
pub use gateway::Gateway;
pub use identity::Identity;
pub use ids::{
    ImageId, InstanceId, InvalidId, KeyPairId, NetworkInterfaceId, SecurityGroupId, SnapshotId,
    SubnetId, VolumeId, VpcId,
};
pub use image::{
    Deregistered, Image, ImageBlockDevice, ImageCopy, ImageSearch, ImageState, NewImage,
};
pub use instance::{Instance, InstanceState, StateReason};
pub use instance_profile::{InstanceProfile, NewRole};
pub use instance_type::{Architecture, InstanceType};
pub use key_pair::{KeyPair, NewKeyPair};
pub use launch::{Imds, Launch, Spot};
pub use launch_template::NamedByTemplate;
pub use placement::{CapacityReservation, Placement};
pub use preflight::{Call, Verdict};
pub use publish::LaunchPermissions;
pub use register::Registration;
pub use resource::TaggedResource;
pub use role::{AskCode, Role};
pub use security_group::{IngressRule, NewSecurityGroup, SecurityGroup};
pub use session::{Session, SessionDocument};
pub use snapshot::{NewSnapshot, Snapshot, SnapshotState};
pub use subnet::Subnet;
pub use tag::{Filters, TagMatch, Tags};
pub use wait::{Heartbeat, Probe, Wait, WaitError};

#[cfg(test)]
mod tests;
