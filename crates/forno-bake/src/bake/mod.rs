//! One bake, phase by phase: a file for each.

mod adopt;
mod builder;
mod capture;
mod check;
mod connect;
mod context;
mod effects;
mod guest_steps;
mod hold;
mod key_pair;
mod lifeline;
mod machine;
mod prove;
mod provision;
mod run;
mod seal;
mod security_group;
mod teardown;
mod undo;
mod user_data;

pub(crate) use effects::{
    IMAGE, INSTANCE, InstanceIntent, KEY_PAIR, Made, NamedIntent, PlaceOf, SECURITY_GROUP, id,
    intent, resource,
};
pub(crate) use run::{bake, mark_finished};
pub(crate) use undo::{CloudUndo, command};
