//! Containers: the disk's own systemd under systemd-nspawn.

mod boot;
mod root;

pub(crate) use boot::{Ground, launch, prepare};
