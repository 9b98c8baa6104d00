//! Parameter Store: parameters of one's own beside the public ones. There is
//! no KMS here, so nothing is kept that would have to be secret.

mod filters;
mod names;
mod read;
mod tags;
mod write;

pub(super) use read::{describe_parameters, get_parameter, get_parameters, get_parameters_by_path};
pub(super) use tags::{add_tags_to_resource, list_tags_for_resource, remove_tags_from_resource};
pub(super) use write::{delete_parameter, delete_parameters, put_parameter};
