//! The endpoint's services: from an HTTP request to an HTTP reply.

mod auth;
mod dispatch;
mod ec2;
mod http;
mod ssm;
mod sts;

pub(crate) use dispatch::Service;
pub(crate) use http::router;
