//! The actions by name.

use super::call::Call;
use super::{
    groups, image_attributes, image_copy, image_create, image_register, images, instances, keys,
    launch_templates, places, run, snapshot_create, snapshots, spot, states, tags, types, volumes,
};
use crate::api::error::ApiError;
use crate::api::xml::Xml;

/// Carries out a call and writes the inside of its reply.
pub(crate) type Action = fn(&mut Call<'_>, &mut Xml) -> Result<(), ApiError>;

/// All of them, in the order of their names.
const ACTIONS: &[(&str, Action)] = &[
    ("AuthorizeSecurityGroupIngress", groups::authorize_ingress),
    ("CopyImage", image_copy::copy_image),
    ("CopySnapshot", snapshot_create::copy_snapshot),
    ("CreateImage", image_create::create_image),
    ("CreateKeyPair", keys::create_key_pair),
    (
        "CreateLaunchTemplate",
        launch_templates::create_launch_template,
    ),
    (
        "CreateLaunchTemplateVersion",
        launch_templates::create_launch_template_version,
    ),
    ("CreateSecurityGroup", groups::create_security_group),
    ("CreateSnapshot", snapshot_create::create_snapshot),
    ("CreateTags", tags::create_tags),
    ("DeleteKeyPair", keys::delete_key_pair),
    (
        "DeleteLaunchTemplate",
        launch_templates::delete_launch_template,
    ),
    ("DeleteSecurityGroup", groups::delete_security_group),
    ("DeleteSnapshot", snapshots::delete_snapshot),
    ("DeleteTags", tags::delete_tags),
    ("DeleteVolume", volumes::delete_volume),
    ("DeregisterImage", images::deregister_image),
    (
        "DescribeAvailabilityZones",
        places::describe_availability_zones,
    ),
    (
        "DescribeImageAttribute",
        image_attributes::describe_image_attribute,
    ),
    ("DescribeImages", images::describe_images),
    (
        "DescribeInstanceStatus",
        instances::describe_instance_status,
    ),
    (
        "DescribeInstanceTypeOfferings",
        types::describe_instance_type_offerings,
    ),
    ("DescribeInstanceTypes", types::describe_instance_types),
    ("DescribeInstances", instances::describe_instances),
    ("DescribeKeyPairs", keys::describe_key_pairs),
    (
        "DescribeLaunchTemplateVersions",
        launch_templates::describe_launch_template_versions,
    ),
    (
        "DescribeLaunchTemplates",
        launch_templates::describe_launch_templates,
    ),
    ("DescribeRegions", places::describe_regions),
    ("DescribeSecurityGroups", groups::describe_security_groups),
    (
        "DescribeSnapshotAttribute",
        image_attributes::describe_snapshot_attribute,
    ),
    ("DescribeSnapshots", snapshots::describe_snapshots),
    (
        "DescribeSpotInstanceRequests",
        spot::describe_spot_instance_requests,
    ),
    ("DescribeSubnets", places::describe_subnets),
    ("DescribeTags", tags::describe_tags),
    ("DescribeVolumes", volumes::describe_volumes),
    ("DescribeVpcs", places::describe_vpcs),
    (
        "DisableImageBlockPublicAccess",
        image_attributes::disable_block_public_access,
    ),
    (
        "DisableImageDeprecation",
        image_attributes::disable_image_deprecation,
    ),
    (
        "DisableImageDeregistrationProtection",
        image_attributes::disable_protection,
    ),
    (
        "DisableSnapshotBlockPublicAccess",
        image_attributes::disable_block_public_snapshots,
    ),
    (
        "EnableImageBlockPublicAccess",
        image_attributes::enable_block_public_access,
    ),
    (
        "EnableImageDeprecation",
        image_attributes::enable_image_deprecation,
    ),
    (
        "EnableImageDeregistrationProtection",
        image_attributes::enable_protection,
    ),
    (
        "EnableSnapshotBlockPublicAccess",
        image_attributes::enable_block_public_snapshots,
    ),
    ("GetConsoleOutput", instances::get_console_output),
    (
        "GetImageBlockPublicAccessState",
        image_attributes::get_block_public_access,
    ),
    (
        "GetSnapshotBlockPublicAccessState",
        image_attributes::get_block_public_snapshots,
    ),
    ("ImportKeyPair", keys::import_key_pair),
    (
        "ModifyImageAttribute",
        image_attributes::modify_image_attribute,
    ),
    (
        "ModifySnapshotAttribute",
        image_attributes::modify_snapshot_attribute,
    ),
    ("RebootInstances", states::reboot_instances),
    ("RegisterImage", image_register::register_image),
    (
        "ResetImageAttribute",
        image_attributes::reset_image_attribute,
    ),
    ("RevokeSecurityGroupIngress", groups::revoke_ingress),
    ("RunInstances", run::run_instances),
    ("StartInstances", states::start_instances),
    ("StopInstances", states::stop_instances),
    ("TerminateInstances", states::terminate_instances),
];

/// The action of a name.
pub(crate) fn find(name: &str) -> Option<Action> {
    let place = ACTIONS
        .binary_search_by_key(&name, |(known, _)| known)
        .ok()?;
    Some(ACTIONS[place].1)
}

/// The names of all actions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(ACTIONS.is_sorted_by_key(|(name, _)| name));
        assert!(names().all(|name| find(name).is_some()));
        assert!(find("RunInstance").is_none());
    }

    #[test]
    fn the_page_names_every_action() {
        let page = include_str!("../../../../docs/PROTOCOL.md");
        for name in names() {
            assert!(
                page.contains(&format!("`{name}`")),
                "PROTOCOL.md lacks {name}"
            );
        }
    }
}
