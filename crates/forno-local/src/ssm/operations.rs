//! The operations by name.

use super::call::{Call, Reply};
use super::{commands, information, parameters, sessions, settings};
use crate::api::error::ApiError;

/// Carries out a call.
pub(crate) type Operation = fn(&Call<'_>) -> Result<Reply, ApiError>;

/// All of them, in the order of their names.
const OPERATIONS: &[(&str, Operation)] = &[
    ("AddTagsToResource", parameters::add_tags_to_resource),
    ("CancelCommand", commands::cancel_command),
    ("DeleteParameter", parameters::delete_parameter),
    ("DeleteParameters", parameters::delete_parameters),
    (
        "DescribeInstanceInformation",
        information::describe_instance_information,
    ),
    ("DescribeParameters", parameters::describe_parameters),
    ("DescribeSessions", sessions::describe_sessions),
    ("GetCommandInvocation", commands::get_command_invocation),
    ("GetParameter", parameters::get_parameter),
    ("GetParameters", parameters::get_parameters),
    ("GetParametersByPath", parameters::get_parameters_by_path),
    ("GetServiceSetting", settings::get_service_setting),
    ("ListCommandInvocations", commands::list_command_invocations),
    ("ListCommands", commands::list_commands),
    ("ListTagsForResource", parameters::list_tags_for_resource),
    ("PutParameter", parameters::put_parameter),
    (
        "RemoveTagsFromResource",
        parameters::remove_tags_from_resource,
    ),
    ("ResetServiceSetting", settings::reset_service_setting),
    ("ResumeSession", sessions::resume_session),
    ("SendCommand", commands::send_command),
    ("StartSession", sessions::start_session),
    ("TerminateSession", sessions::terminate_session),
    ("UpdateServiceSetting", settings::update_service_setting),
];

/// The operation of a name.
pub(crate) fn find(name: &str) -> Option<Operation> {
    let place = OPERATIONS
        .binary_search_by_key(&name, |(known, _)| known)
        .ok()?;
    Some(OPERATIONS[place].1)
}

/// The names of all operations.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(OPERATIONS.is_sorted_by_key(|(name, _)| name));
        assert!(names().all(|name| find(name).is_some()));
        assert!(find("GetParam").is_none());
    }
}
