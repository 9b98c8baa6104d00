//! The endpoint's services: from an HTTP request to an HTTP reply.

mod admin;
mod auth;
mod channel;
mod denial;
mod dispatch;
mod ebs;
mod ec2;
mod http;
mod iam;
mod line;
mod s3;
mod ssm;
mod sts;

pub(crate) use dispatch::{Performed, Service};
pub(crate) use http::{machine_router, router};
pub(crate) use line::{Line, Lines};
pub(crate) use sts::ACTIONS as STS_ACTIONS;
