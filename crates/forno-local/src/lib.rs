//! The pocket EC2: an HTTP endpoint on loopback that speaks EC2's, SSM's, S3's,
//! STS's and the EBS direct APIs' own wire protocols and starts real machines.
//!
//! It exists so that a bake needs no cloud account: the same SDK calls, state
//! machines and error codes, with machines of this host behind them. It uses no
//! other crate of the workspace but `forno-machine`, so that foreign clients
//! can judge it without our own types in between. What it does and does not is
//! written down in `docs/PROTOCOL.md`.

mod api;
mod channel;
mod config;
mod credentials;
mod ebs;
mod ec2;
mod endpoint;
mod error;
mod faults;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod iam;
mod imds;
mod keypair;
mod pace;
mod s3;
mod service;
mod sessions;
mod source;
mod ssm;
mod state;

pub use config::{Config, DEFAULT_REGION, MachineChoice, Mode, Progress};
pub use credentials::Credentials;
pub use endpoint::{EndpointInfo, PocketEc2, running_endpoint};
pub use error::Error;
pub use faults::{
    Actions, CallRecord, Calls, ChannelFault, Direction, Fault, FaultPlan, InjectedError, Moment,
    Reply, ServiceName, Then, Throttle, Work,
};
pub use pace::Pace;
