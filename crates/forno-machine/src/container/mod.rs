//! Containers: the disk's own systemd under systemd-nspawn.

mod boot;
mod data;
mod root;
mod script;

pub(crate) use boot::{Ground, launch, prepare};
pub(crate) use script::run;
