//! An image made of snapshots that are there.

use aws_sdk_ec2::operation::register_image::RegisterImageError;
use aws_sdk_ec2::types::{
    ArchitectureValues, BootModeValues, ImdsSupportValues, ResourceType, TpmSupportValues,
};

use crate::block_device::Volumes;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::ImageId;
use crate::instance_type::Architecture;
use crate::tag::Tags;

/// An image to be made of snapshots, for machines with hardware virtualization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Unique in account and region.
    pub name: String,
    pub description: Option<String>,
    /// On the image, from the first moment.
    pub tags: Tags,
    pub architecture: Architecture,
    pub root_device: String,
    /// Each with its snapshot; the root's among them.
    pub volumes: Volumes,
    pub ena: bool,
    pub sriov: bool,
    /// In EC2's word; `None`: as the instance type boots by default.
    pub boot_mode: Option<String>,
    pub tpm: bool,
    /// In base64.
    pub uefi_data: Option<String>,
    pub imds_v2: bool,
}

impl Gateway {
    /// The image is available at once. There is no client token: after an unknown outcome,
    /// look by name and tags.
    pub async fn register_image(&self, image: &Registration) -> Result<ImageId, Error> {
        let call = self.call("RegisterImage").on(&image.name);
        let mode = image.boot_mode.as_deref().map(BootModeValues::from);
        let reply = self
            .clients()
            .ec2
            .register_image()
            .name(&image.name)
            .set_description(image.description.clone())
            .architecture(ArchitectureValues::from(image.architecture.as_str()))
            .virtualization_type("hvm")
            .root_device_name(&image.root_device)
            .set_block_device_mappings(image.volumes.mappings())
            .ena_support(image.ena)
            .set_sriov_net_support(image.sriov.then(|| "simple".to_owned()))
            .set_boot_mode(mode)
            .set_tpm_support(image.tpm.then_some(TpmSupportValues::V20))
            .set_uefi_data(image.uefi_data.clone())
            .set_imds_support(image.imds_v2.then_some(ImdsSupportValues::V20))
            .set_tag_specifications(image.tags.specifications(&[ResourceType::Image]))
            .customize()
            .interceptor(call.watch::<RegisterImageError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let id = reply
            .image_id
            .ok_or_else(|| call.malformed("no image id in it"))?;
        ImageId::new(id).map_err(|error| call.malformed(error))
    }
}
