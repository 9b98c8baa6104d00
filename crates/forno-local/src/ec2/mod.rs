//! What EC2's actions mean: one file per family, each action a function from a
//! call (its parameters and the world) to the inside of its reply.

mod actions;
mod call;
mod group_rules;
mod groups;
mod image_attributes;
mod image_copy;
mod image_create;
mod image_register;
mod images;
mod instance_reply;
mod instances;
mod keys;
mod launch_templates;
mod places;
mod run;
mod run_disk;
mod run_hardware;
mod run_network;
mod snapshot_create;
mod snapshots;
mod spot;
mod states;
mod tags;
mod types;
mod volumes;

pub(crate) use actions::{find, names};
pub(crate) use call::Call;
pub(crate) use keys::prepare as prepare_key;
pub(crate) use snapshots::NO_VOLUME;
pub(crate) use tags::check as check_tag;
