//! One bake, phase by phase: a file for each.

mod adopt;
mod bucket;
mod builder;
mod capture;
mod check;
mod connect;
mod context;
mod copy;
mod door;
mod effects;
mod guest_steps;
mod hold;
mod key_pair;
mod lifeline;
mod machine;
mod profile;
mod prove;
mod provision;
mod publish;
mod register;
mod rescue;
mod run;
mod runs;
mod seal;
mod security_group;
mod snapshot;
mod systems;
mod taken;
mod teardown;
mod undo;
mod user_data;

pub use bucket::BucketPlace;
pub(crate) use capture::{is_image, may_become};
pub(crate) use effects::{
    BUCKET, IMAGE, INSTANCE, InstanceIntent, KEY_PAIR, Made, NamedIntent, PROFILE, PlaceOf, ROLE,
    SECURITY_GROUP, id, intent, resource,
};
pub(crate) use key_pair::forget;
pub(crate) use publish::{Publication, copies, lacks_copies};
pub(crate) use run::{From, bake, mark_finished, resume};
pub(crate) use snapshot::OfImage;
pub(crate) use systems::{BucketStore, Cloud};
pub(crate) use undo::{CloudUndo, command};
pub(crate) use user_data::fits as user_data_fits;
