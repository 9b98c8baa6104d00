//! Volumes as they are asked for, at a launch or in an image.

use std::fmt;
use std::str::FromStr;

use aws_sdk_ec2::types::{BlockDeviceMapping, EbsBlockDevice, VolumeType as SdkVolumeType};
use serde::{Deserialize, Serialize};

use crate::convert::number;
use crate::ids::SnapshotId;

/// A volume to be made at launch, or the one in an image. What is `None` stays as the
/// image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// As the image names it, such as `/dev/xvda`.
    pub device: String,
    pub size_gib: Option<u32>,
    pub volume_type: Option<VolumeType>,
    pub iops: Option<u32>,
    /// MiB per second; gp3 only.
    pub throughput: Option<u32>,
    /// Only at a launch: EC2 refuses it in CreateImage.
    pub encrypted: Option<bool>,
    /// Only at a launch, and only of an encrypted volume.
    pub kms_key: Option<String>,
    /// What it begins as, where that is not for the image to say.
    pub snapshot: Option<SnapshotId>,
    /// Stays when its instance goes. Only ever in an image: a builder must not leave volumes
    /// behind.
    pub outlives_instance: bool,
}

impl Volume {
    fn mapping(&self) -> BlockDeviceMapping {
        let ebs = EbsBlockDevice::builder()
            .delete_on_termination(!self.outlives_instance)
            .set_volume_size(self.size_gib.map(number))
            .set_volume_type(self.volume_type.map(VolumeType::to_sdk))
            .set_iops(self.iops.map(number))
            .set_throughput(self.throughput.map(number))
            .set_encrypted(self.encrypted)
            .set_kms_key_id(self.kms_key.clone())
            .set_snapshot_id(self.snapshot.as_ref().map(ToString::to_string))
            .build();
        BlockDeviceMapping::builder()
            .device_name(&self.device)
            .ebs(ebs)
            .build()
    }
}

/// What a launch, or an image, says about its volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volumes {
    /// The root, and others.
    pub with: Vec<Volume>,
    /// Devices of the image, or of the instance, that are left out.
    pub without: Vec<String>,
}

impl Volumes {
    /// `None`: nothing is said.
    pub(crate) fn mappings(&self) -> Option<Vec<BlockDeviceMapping>> {
        let without = self.without.iter().map(|device| {
            BlockDeviceMapping::builder()
                .device_name(device)
                .no_device("")
                .build()
        });
        let all: Vec<_> = self
            .with
            .iter()
            .map(Volume::mapping)
            .chain(without)
            .collect();
        (!all.is_empty()).then_some(all)
    }
}

/// The kinds of volume that EC2 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    Gp2,
    Gp3,
    Io1,
    Io2,
    Sc1,
    St1,
    Standard,
}

impl VolumeType {
    const ALL: [Self; 7] = [
        Self::Gp2,
        Self::Gp3,
        Self::Io1,
        Self::Io2,
        Self::Sc1,
        Self::St1,
        Self::Standard,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::Sc1 => "sc1",
            Self::St1 => "st1",
            Self::Standard => "standard",
        }
    }

    fn to_sdk(self) -> SdkVolumeType {
        SdkVolumeType::from(self.as_str())
    }
}

impl fmt::Display for VolumeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for VolumeType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no volume type of EC2"))
    }
}
