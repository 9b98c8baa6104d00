//! How machines of an image begin, who may use it, and for how long. Every call here is the same however
//! often it is made.

use aws_sdk_ec2::operation::enable_image_deprecation::EnableImageDeprecationError;
use aws_sdk_ec2::operation::enable_image_deregistration_protection::EnableImageDeregistrationProtectionError;
use aws_sdk_ec2::operation::get_image_block_public_access_state::GetImageBlockPublicAccessStateError;
use aws_sdk_ec2::operation::get_snapshot_block_public_access_state::GetSnapshotBlockPublicAccessStateError;
use aws_sdk_ec2::operation::modify_image_attribute::ModifyImageAttributeError;
use aws_sdk_ec2::operation::modify_image_attribute::builders::ModifyImageAttributeFluentBuilder;
use aws_sdk_ec2::operation::modify_snapshot_attribute::ModifySnapshotAttributeError;
use aws_sdk_ec2::types::builders::{CreateVolumePermissionBuilder, LaunchPermissionBuilder};
use aws_sdk_ec2::types::{
    AttributeValue, CreateVolumePermission, CreateVolumePermissionModifications, LaunchPermission,
    LaunchPermissionModifications, PermissionGroup, SnapshotBlockPublicAccessState,
};
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::{ImageId, SnapshotId};

/// Those who may start machines from an image, besides its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchPermissions {
    pub accounts: Vec<String>,
    /// ARNs.
    pub organizations: Vec<String>,
    /// ARNs.
    pub organizational_units: Vec<String>,
    /// Everybody.
    pub public: bool,
}

impl LaunchPermissions {
    fn to_sdk(&self) -> Vec<LaunchPermission> {
        let one = LaunchPermission::builder;
        let accounts = self.accounts.iter().map(|id| one().user_id(id));
        let organizations = self.organizations.iter();
        let organizations = organizations.map(|arn| one().organization_arn(arn));
        let units = self.organizational_units.iter();
        let units = units.map(|arn| one().organizational_unit_arn(arn));
        let everybody = self.public.then(|| one().group(PermissionGroup::All));
        let all = accounts.chain(organizations).chain(units).chain(everybody);
        all.map(LaunchPermissionBuilder::build).collect()
    }
}

impl Gateway {
    /// Lets others start machines from an image; takes it from nobody.
    pub async fn share_image(&self, id: &ImageId, with: &LaunchPermissions) -> Result<(), Error> {
        let add = LaunchPermissionModifications::builder().set_add(Some(with.to_sdk()));
        self.modify_image(id, |request| request.launch_permission(add.build()))
            .await
    }

    async fn modify_image(
        &self,
        id: &ImageId,
        change: impl FnOnce(ModifyImageAttributeFluentBuilder) -> ModifyImageAttributeFluentBuilder,
    ) -> Result<(), Error> {
        let call = self.call("ModifyImageAttribute").on(id);
        let request = self.clients().ec2.modify_image_attribute();
        change(request.image_id(id.as_str()))
            .customize()
            .interceptor(call.watch::<ModifyImageAttributeError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// Lets accounts make volumes of a snapshot, or everybody.
    pub async fn share_snapshot(
        &self,
        id: &SnapshotId,
        accounts: &[String],
        public: bool,
    ) -> Result<(), Error> {
        let call = self.call("ModifySnapshotAttribute").on(id);
        let one = CreateVolumePermission::builder;
        let permissions = accounts.iter().map(|account| one().user_id(account));
        let everybody = public.then(|| one().group(PermissionGroup::All));
        let permissions = permissions.chain(everybody);
        let permissions = permissions.map(CreateVolumePermissionBuilder::build);
        let add =
            CreateVolumePermissionModifications::builder().set_add(Some(permissions.collect()));
        self.clients()
            .ec2
            .modify_snapshot_attribute()
            .snapshot_id(id.as_str())
            .create_volume_permission(add.build())
            .customize()
            .interceptor(call.watch::<ModifySnapshotAttributeError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// From then on others do not find it any more. EC2 rounds to the minute, and
    /// takes what is at most ten years ahead.
    pub async fn deprecate_image(&self, id: &ImageId, at: Timestamp) -> Result<(), Error> {
        let call = self.call("EnableImageDeprecation").on(id);
        self.clients()
            .ec2
            .enable_image_deprecation()
            .image_id(id.as_str())
            .deprecate_at(DateTime::from_secs(at.as_second()))
            .customize()
            .interceptor(call.watch::<EnableImageDeprecationError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// Its machines want IMDSv2 where their launch does not say; that cannot be taken back.
    pub async fn require_imds_v2(&self, id: &ImageId) -> Result<(), Error> {
        let v2 = AttributeValue::builder().value("v2.0").build();
        self.modify_image(id, |request| request.imds_support(v2))
            .await
    }

    /// Nobody can deregister it until the protection is taken off, with a cooldown
    /// not for 24 hours after that.
    pub async fn protect_image(&self, id: &ImageId, with_cooldown: bool) -> Result<(), Error> {
        let call = self.call("EnableImageDeregistrationProtection").on(id);
        self.clients()
            .ec2
            .enable_image_deregistration_protection()
            .image_id(id.as_str())
            .with_cooldown(with_cooldown)
            .customize()
            .interceptor(call.watch::<EnableImageDeregistrationProtectionError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// Whether images of the region can be made public.
    pub async fn may_share_publicly(&self) -> Result<bool, Error> {
        let call = self.call("GetImageBlockPublicAccessState");
        let reply = self
            .clients()
            .ec2
            .get_image_block_public_access_state()
            .customize()
            .interceptor(call.watch::<GetImageBlockPublicAccessStateError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(reply.image_block_public_access_state.as_deref() == Some("unblocked"))
    }

    /// Whether snapshots of the region can be made public.
    pub async fn may_share_snapshots_publicly(&self) -> Result<bool, Error> {
        let call = self.call("GetSnapshotBlockPublicAccessState");
        let reply = self
            .clients()
            .ec2
            .get_snapshot_block_public_access_state()
            .customize()
            .interceptor(call.watch::<GetSnapshotBlockPublicAccessStateError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(reply.state == Some(SnapshotBlockPublicAccessState::Unblocked))
    }
}
