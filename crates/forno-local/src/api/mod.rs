//! The wire: requests in, replies out, and nothing about what they mean.

pub(crate) mod error;
pub(crate) mod filters;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod sigv4;
pub(crate) mod xml;
