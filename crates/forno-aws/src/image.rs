//! Images: found, made, removed.

use std::fmt;

use aws_sdk_ec2::operation::copy_image::CopyImageError;
use aws_sdk_ec2::operation::create_image::CreateImageError;
use aws_sdk_ec2::operation::create_image::builders::CreateImageFluentBuilder;
use aws_sdk_ec2::operation::deregister_image::DeregisterImageError;
use aws_sdk_ec2::types::{
    Image as SdkImage, ImageState as SdkImageState, ResourceType, TagSpecification,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::block_device::{VolumeType, Volumes};
use crate::convert::{Nonsense, count, non_empty, optional_id, required, timestamp_text};
use crate::error::{Error, Kind};
use crate::gateway::{Clients, Gateway};
use crate::ids::{ImageId, InstanceId, SnapshotId};
use crate::instance::StateReason;
use crate::instance_type::Architecture;
use crate::tag::{Filters, TagMatch, Tags, filter, literal, sdk_filters, tag_filters};

/// An image as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub id: ImageId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub state: ImageState,
    pub state_reason: Option<StateReason>,
    pub architecture: Architecture,
    /// The account that owns it.
    pub owner: String,
    pub created: Option<Timestamp>,
    pub deprecated: Option<Timestamp>,
    pub root_device: Option<String>,
    /// `ebs`, or `instance-store` for the kind that cannot be baked from.
    pub root_device_type: Option<String>,
    pub virtualization: Option<String>,
    pub boot_mode: Option<String>,
    pub ena: bool,
    #[serde(default)]
    pub sriov: bool,
    #[serde(default)]
    pub tpm: bool,
    /// What using it costs besides its machines: a product code of AWS Marketplace, or an
    /// operation that is billed otherwise than Linux.
    #[serde(default)]
    pub billed_as: Option<String>,
    /// Machines from it start with IMDSv2 required.
    pub imds_v2: bool,
    pub public: bool,
    pub block_devices: Vec<ImageBlockDevice>,
    pub tags: Tags,
}

/// A volume in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageBlockDevice {
    pub device: String,
    /// Unknown while the image is pending, and for foreign images at times.
    pub snapshot: Option<SnapshotId>,
    pub size_gib: Option<u32>,
    pub encrypted: bool,
    #[serde(default)]
    pub volume_type: Option<VolumeType>,
    #[serde(default)]
    pub iops: Option<u32>,
    #[serde(default)]
    pub throughput: Option<u32>,
    /// Stays when its machine goes.
    #[serde(default)]
    pub outlives_instance: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageState {
    Pending,
    Available,
    /// In the making, or being restored.
    Transient,
    Failed,
    Error,
    Invalid,
    Deregistered,
    Disabled,
    Other(String),
}

impl ImageState {
    /// It will never become available by waiting.
    pub fn is_final_failure(&self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Error | Self::Invalid | Self::Deregistered | Self::Disabled
        )
    }
}

impl fmt::Display for ImageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Transient => "transient",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Invalid => "invalid",
            Self::Deregistered => "deregistered",
            Self::Disabled => "disabled",
            Self::Other(state) => state,
        })
    }
}

impl Image {
    /// The snapshots that it stands on, as far as EC2 tells.
    pub fn snapshots(&self) -> impl Iterator<Item = &SnapshotId> {
        self.block_devices
            .iter()
            .filter_map(|device| device.snapshot.as_ref())
    }

    /// The root volume's size, below which a builder cannot start.
    pub fn root_size_gib(&self) -> Option<u32> {
        let root = self.root_device.as_deref()?;
        self.block_devices
            .iter()
            .find(|device| device.device == root)?
            .size_gib
    }
}

/// The images of somebody else, by what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSearch {
    /// Account ids, or `self`, `amazon`, `aws-marketplace`.
    pub owners: Vec<String>,
    /// With `*` and `?` as EC2 reads them.
    pub name: String,
    pub architecture: Option<Architecture>,
    /// More conditions, by EC2's names of filters; the values of one are alternatives
    /// and may hold `*` and `?`.
    pub filters: Filters,
    /// Also images past their deprecation date.
    pub include_deprecated: bool,
}

/// An image to be made of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewImage {
    pub instance: InstanceId,
    /// Unique in account and region.
    pub name: String,
    pub description: Option<String>,
    /// On the image and on its snapshots, from the first moment.
    pub tags: Tags,
    /// On its snapshots only, over `tags`.
    pub snapshot_tags: Tags,
    /// What shall differ from the instance's own volumes.
    pub volumes: Volumes,
}

/// An image to be copied into another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCopy {
    pub source: ImageId,
    pub source_region: String,
    /// The same call with the same token makes no second copy.
    pub client_token: String,
    /// Unique in account and region.
    pub name: String,
    pub description: Option<String>,
    /// On the copy and on its snapshots, from the first moment.
    pub tags: Tags,
    /// On its snapshots only, over `tags`.
    pub snapshot_tags: Tags,
    /// A key of the region; the copy is encrypted with it.
    pub kms_key_id: Option<String>,
    /// How long each of its snapshots may take: quarters of an hour.
    pub within_minutes: Option<u32>,
}

/// What a deregistration left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deregistered {
    /// Snapshots that are still there, each with EC2's word on why.
    pub kept: Vec<(SnapshotId, String)>,
}

/// Of an image and its snapshots.
fn specifications(tags: &Tags, of_snapshots: &Tags) -> Option<Vec<TagSpecification>> {
    let image = tags.specifications(&[ResourceType::Image]);
    let snapshots = tags
        .overlaid(of_snapshots)
        .specifications(&[ResourceType::Snapshot]);
    let both: Vec<_> = image.into_iter().chain(snapshots).flatten().collect();
    (!both.is_empty()).then_some(both)
}

impl Gateway {
    /// The image of this id, deprecated or not; an error with the reasons when there
    /// is none for us.
    pub async fn require_image(&self, id: &ImageId) -> Result<Image, Error> {
        let call = self.call("DescribeImages").on(id);
        let reply = self
            .clients()
            .ec2
            .describe_images()
            .image_ids(id.as_str())
            .include_deprecated(true)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let image = reply.images.into_iter().flatten().next().ok_or_else(|| {
            call.not_found(
                "InvalidAMIID.NotFound",
                format!("the image id '[{id}]' does not exist"),
            )
        })?;
        Image::from_sdk(image).map_err(|nonsense| call.malformed(nonsense))
    }

    /// The available images that match, the newest first.
    pub async fn search_images(&self, search: &ImageSearch) -> Result<Vec<Image>, Error> {
        let call = self
            .call("DescribeImages")
            .on(format_args!("`{}`", search.name));
        let mut request = self
            .clients()
            .ec2
            .describe_images()
            .set_owners(Some(search.owners.clone()))
            .filters(filter("name", [search.name.as_str()]))
            .filters(filter("state", ["available"]));
        if let Some(architecture) = &search.architecture {
            request = request.filters(filter("architecture", [architecture.as_str()]));
        }
        for condition in sdk_filters(&search.filters) {
            request = request.filters(condition);
        }
        // Left out, EC2 hides them, except from their owner.
        if search.include_deprecated {
            request = request.include_deprecated(true);
        }
        let pages = request.into_paginator().items().send();
        let found = pages
            .collect::<Result<Vec<SdkImage>, _>>()
            .await
            .map_err(|error| call.failed(&error))?;
        let now = Timestamp::now();
        let mut images = found
            .into_iter()
            .map(Image::from_sdk)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|nonsense| call.malformed(nonsense))?;
        images.retain(|image| {
            search.include_deprecated || image.deprecated.is_none_or(|at| at > now)
        });
        images.sort_by(newest_first);
        Ok(images)
    }

    /// Our own images with these tags in whatever state, the newest first.
    pub async fn images_tagged(&self, conditions: &[TagMatch]) -> Result<Vec<Image>, Error> {
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        self.own_images(tag_filters(conditions)).await
    }

    /// Our own images of exactly this name in whatever state: one, or none.
    pub async fn images_named(&self, name: &str) -> Result<Vec<Image>, Error> {
        self.own_images(vec![filter("name", [literal(name)])]).await
    }

    async fn own_images(
        &self,
        filters: Vec<aws_sdk_ec2::types::Filter>,
    ) -> Result<Vec<Image>, Error> {
        let call = self.call("DescribeImages");
        let pages = self
            .clients()
            .ec2
            .describe_images()
            .owners("self")
            .include_deprecated(true)
            .include_disabled(true)
            .set_filters(Some(filters))
            .into_paginator()
            .items()
            .send();
        let mut images = pages
            .collect::<Result<Vec<SdkImage>, _>>()
            .await
            .map_err(|error| call.failed(&error))?
            .into_iter()
            .map(Image::from_sdk)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|nonsense| call.malformed(nonsense))?;
        images.sort_by(newest_first);
        Ok(images)
    }

    /// Starts the making of an image. There is no client token: after an unknown
    /// outcome, look by name and tags.
    pub async fn create_image(&self, image: &NewImage) -> Result<ImageId, Error> {
        let call = self.call("CreateImage").on(&image.instance);
        let reply = self
            .create_image_request(image)
            .customize()
            .interceptor(call.watch::<CreateImageError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let id = reply
            .image_id
            .ok_or_else(|| call.malformed("no image id in it"))?;
        ImageId::new(id).map_err(|error| call.malformed(error))
    }

    pub(crate) fn create_image_request(&self, image: &NewImage) -> CreateImageFluentBuilder {
        self.clients()
            .ec2
            .create_image()
            .instance_id(image.instance.as_str())
            .name(&image.name)
            .set_description(image.description.clone())
            .set_tag_specifications(specifications(&image.tags, &image.snapshot_tags))
            .set_block_device_mappings(image.volumes.mappings())
    }

    /// Starts a copy into the gateway's own region.
    pub async fn copy_image(&self, copy: &ImageCopy) -> Result<ImageId, Error> {
        let call = self.call("CopyImage").on(&copy.source);
        let reply = self
            .clients()
            .ec2
            .copy_image()
            .source_image_id(copy.source.as_str())
            .source_region(&copy.source_region)
            .client_token(&copy.client_token)
            .name(&copy.name)
            .set_description(copy.description.clone())
            .set_encrypted(copy.kms_key_id.is_some().then_some(true))
            .set_kms_key_id(copy.kms_key_id.clone())
            .set_snapshot_copy_completion_duration_minutes(copy.within_minutes.map(i64::from))
            .set_tag_specifications(specifications(&copy.tags, &copy.snapshot_tags))
            .customize()
            .interceptor(call.watch::<CopyImageError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let id = reply
            .image_id
            .ok_or_else(|| call.malformed("no image id in it"))?;
        ImageId::new(id).map_err(|error| call.malformed(error))
    }

    /// Removes an image and the snapshots under it.
    ///
    /// EC2 does both in one call; an endpoint that does not, leaves the snapshots,
    /// and they are deleted one by one. An image that is gone already counts as
    /// removed.
    pub async fn deregister_image(&self, id: &ImageId) -> Result<Deregistered, Error> {
        let before = self.images_by_id(id).await?;
        let snapshots: Vec<SnapshotId> = before
            .iter()
            .flat_map(|image| image.snapshots().cloned())
            .collect();

        let call = self.call("DeregisterImage").on(id);
        let reply = self
            .clients()
            .ec2
            .deregister_image()
            .image_id(id.as_str())
            .delete_associated_snapshots(true)
            .customize()
            .interceptor(call.watch::<DeregisterImageError>())
            .send()
            .await;
        let refused: Vec<(String, String)> = match reply {
            Ok(reply) => reply
                .delete_snapshot_results
                .into_iter()
                .flatten()
                .filter_map(|result| {
                    let code = result.return_code?.as_str().to_owned();
                    (code != "success").then_some((result.snapshot_id?, code))
                })
                .collect(),
            Err(error) => {
                let error = call.failed(&error);
                if error.kind() != Kind::NotFound {
                    return Err(error);
                }
                Vec::new()
            }
        };

        let mut left = Deregistered::default();
        for snapshot in snapshots {
            // What EC2 refused for a reason (`skipped` because another image uses it)
            // is not tried again.
            if let Some((_, code)) = refused
                .iter()
                .find(|(refused, code)| refused == snapshot.as_str() && code == "skipped")
            {
                left.kept.push((snapshot, code.clone()));
                continue;
            }
            match self.delete_snapshot(&snapshot).await {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => left.kept.push((snapshot, error.to_string())),
            }
        }
        Ok(left)
    }

    /// By filter: an id that is unknown (yet) is no error.
    async fn images_by_id(&self, id: &ImageId) -> Result<Vec<Image>, Error> {
        Ok(describe(self.clients(), std::slice::from_ref(id))
            .await?
            .into_iter()
            .map(|(_, image)| image)
            .collect())
    }
}

/// Those of the ids that EC2 knows.
pub(crate) async fn describe(
    clients: &Clients,
    ids: &[ImageId],
) -> Result<Vec<(ImageId, Image)>, Error> {
    let call = clients.call("DescribeImages");
    let pages = clients
        .ec2
        .describe_images()
        .filters(filter("image-id", ids.iter().map(ImageId::as_str)))
        .include_deprecated(true)
        .include_disabled(true)
        .into_paginator()
        .items()
        .send();
    pages
        .collect::<Result<Vec<SdkImage>, _>>()
        .await
        .map_err(|error| call.failed(&error))?
        .into_iter()
        .map(|image| Image::from_sdk(image).map(|image| (image.id.clone(), image)))
        .collect::<Result<_, _>>()
        .map_err(|nonsense| call.malformed(nonsense))
}

/// By date of creation; the id decides among equals, so that the order is stable.
fn newest_first(a: &Image, b: &Image) -> std::cmp::Ordering {
    b.created.cmp(&a.created).then_with(|| b.id.cmp(&a.id))
}

impl Image {
    pub(crate) fn from_sdk(image: SdkImage) -> Result<Self, Nonsense> {
        let block_devices = image
            .block_device_mappings
            .into_iter()
            .flatten()
            .filter_map(|mapping| Some((mapping.device_name?, mapping.ebs?)))
            .map(|(device, ebs)| {
                Ok(ImageBlockDevice {
                    device,
                    snapshot: optional_id(ebs.snapshot_id)?,
                    size_gib: count(ebs.volume_size),
                    encrypted: ebs.encrypted.unwrap_or(false),
                    volume_type: ebs.volume_type.and_then(|kind| kind.as_str().parse().ok()),
                    iops: count(ebs.iops),
                    throughput: count(ebs.throughput),
                    outlives_instance: ebs.delete_on_termination == Some(false),
                })
            })
            .collect::<Result<Vec<_>, Nonsense>>()?;
        let mut codes = image.product_codes.into_iter().flatten();
        let code = codes.find_map(|code| code.product_code_id);
        // EC2's word for plain Linux.
        let operation = image.usage_operation.filter(|word| word != "RunInstances");
        Ok(Self {
            id: ImageId::new(required(image.image_id, "the image id")?)?,
            name: non_empty(image.name),
            description: non_empty(image.description),
            state: state(&required(image.state, "the state of an image")?),
            state_reason: image.state_reason.map(StateReason::from_sdk),
            architecture: image.architecture.map_or(Architecture::X86_64, |value| {
                Architecture::from(value.as_str())
            }),
            owner: image.owner_id.unwrap_or_default(),
            created: timestamp_text(image.creation_date.as_deref()),
            deprecated: timestamp_text(image.deprecation_time.as_deref()),
            root_device: non_empty(image.root_device_name),
            root_device_type: image.root_device_type.map(|kind| kind.as_str().to_owned()),
            virtualization: image
                .virtualization_type
                .map(|kind| kind.as_str().to_owned()),
            boot_mode: image.boot_mode.map(|mode| mode.as_str().to_owned()),
            ena: image.ena_support.unwrap_or(false),
            sriov: image.sriov_net_support.is_some(),
            tpm: image.tpm_support.is_some(),
            billed_as: code.or(operation),
            imds_v2: image
                .imds_support
                .is_some_and(|support| support.as_str() == "v2.0"),
            public: image.public.unwrap_or(false),
            block_devices,
            tags: Tags::from_sdk(image.tags),
        })
    }
}

fn state(state: &SdkImageState) -> ImageState {
    match state {
        SdkImageState::Pending => ImageState::Pending,
        SdkImageState::Available => ImageState::Available,
        SdkImageState::Transient => ImageState::Transient,
        SdkImageState::Failed => ImageState::Failed,
        SdkImageState::Error => ImageState::Error,
        SdkImageState::Invalid => ImageState::Invalid,
        SdkImageState::Deregistered => ImageState::Deregistered,
        SdkImageState::Disabled => ImageState::Disabled,
        other => ImageState::Other(other.as_str().to_owned()),
    }
}
