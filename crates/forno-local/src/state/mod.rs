//! What the endpoint knows, and how it lasts.

pub(crate) mod buckets;
pub(crate) mod folder;
pub(crate) mod iam;
pub(crate) mod ids;
pub(crate) mod kms;
pub(crate) mod network;
pub(crate) mod parameters;
pub(crate) mod regions;
pub(crate) mod store;
pub(crate) mod types;
pub(crate) mod world;
