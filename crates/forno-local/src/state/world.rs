//! Everything an endpoint knows, as plain data: what is written to disk, what
//! every action reads and changes under one lock.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::buckets::Buckets;
use super::iam::Iam;
use super::ids::Resource;

/// The account that all clients of an endpoint act for.
pub(crate) const ACCOUNT: &str = "123456789012";
/// Debian's account, which publishes its images.
pub(crate) const DEBIAN_ACCOUNT: &str = "136693071363";

pub(crate) type Tags = BTreeMap<String, String>;

/// All regions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct World {
    /// What the disks of this state folder are.
    #[serde(default)]
    pub(crate) format: Option<Format>,
    pub(crate) regions: BTreeMap<String, RegionState>,
    #[serde(default)]
    pub(crate) buckets: Buckets,
    #[serde(default)]
    pub(crate) iam: Iam,
}

/// The two sorts of disks, of which a state folder holds only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// Bootable by virtual machines and containers alike.
    Raw,
    /// The archives of stubs.
    Stub,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "bootable disks",
            Self::Stub => "disks of stub machines",
        }
    }
}

/// What one region holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RegionState {
    pub(crate) keys: BTreeMap<String, KeyPair>,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    pub(crate) images: BTreeMap<String, Image>,
    /// The public image that the endpoint was last started with.
    #[serde(default)]
    pub(crate) source: Option<String>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) instances: BTreeMap<String, Instance>,
    /// Parameters that were put, by their names.
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, OwnParameter>,
    /// Whether Systems Manager manages instances that have no profile.
    #[serde(default)]
    pub(crate) host_management: HostManagement,
    #[serde(default)]
    pub(crate) block_public_access: BlockPublicAccess,
    #[serde(default)]
    pub(crate) block_public_snapshots: BlockPublicSnapshots,
    #[serde(default)]
    pub(crate) launch_templates: BTreeMap<String, LaunchTemplate>,
    /// Tags of everything, by resource id.
    pub(crate) tags: BTreeMap<String, Tags>,
    /// Images that are no more, so that "gone" and "never was" differ.
    pub(crate) deregistered: BTreeMap<String, Timestamp>,
}

/// A parameter of Systems Manager's that somebody put.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnParameter {
    pub(crate) name: String,
    /// `String` or `StringList`.
    pub(crate) kind: String,
    pub(crate) data_type: String,
    pub(crate) tier: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Tags,
    /// The newest last. Never empty.
    pub(crate) versions: Vec<ParameterVersion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ParameterVersion {
    pub(crate) number: u64,
    pub(crate) value: String,
    pub(crate) modified: Timestamp,
}

/// The service setting of default host management: a role, or `$None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostManagement {
    pub(crate) role: String,
    pub(crate) modified: Option<Timestamp>,
}

impl HostManagement {
    /// What the setting says where there is no role.
    pub(crate) const NONE: &str = "$None";

    pub(crate) fn is_on(&self) -> bool {
        self.role != Self::NONE
    }
}

impl Default for HostManagement {
    /// On: no instance has a profile here.
    fn default() -> Self {
        Self {
            role: "service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole".to_owned(),
            modified: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeyPair {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: KeyKind,
    pub(crate) fingerprint: String,
    /// One line of `authorized_keys`.
    pub(crate) public_key: String,
    pub(crate) created: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyKind {
    Rsa,
    Ed25519,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SecurityGroup {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) ingress: Vec<Rule>,
}

/// One ingress rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) match_: RuleMatch,
    pub(crate) description: Option<String>,
}

/// What a rule lets in; two rules of a group never match the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleMatch {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or a number.
    pub(crate) protocol: String,
    /// First and last port; none where the protocol has no ports.
    pub(crate) ports: Option<(i32, i32)>,
    pub(crate) peer: Peer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    V4(String),
    V6(String),
    Group(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) owner: String,
    pub(crate) state: ImageState,
    pub(crate) created: Timestamp,
    pub(crate) deprecated: Option<Timestamp>,
    pub(crate) arm: bool,
    pub(crate) root_device: String,
    pub(crate) root: ImageRoot,
    /// The other volumes that its machines get, by device.
    #[serde(default)]
    pub(crate) further: BTreeMap<String, ImageVolume>,
    /// What it was made from.
    pub(crate) origin: Option<Origin>,
    pub(crate) public: bool,
    /// Accounts that may launch it.
    #[serde(default)]
    pub(crate) launch_accounts: Vec<String>,
    /// Organizations and organizational units that may, by their ARNs.
    #[serde(default)]
    pub(crate) launch_organizations: Vec<String>,
    #[serde(default)]
    pub(crate) protection: Protection,
    /// Its machines want IMDSv2 where their launch does not say.
    #[serde(default)]
    pub(crate) imds_v2: bool,
    #[serde(default)]
    pub(crate) firmware: Firmware,
    /// Whether its machines can use the network of today's types.
    #[serde(default = "yes")]
    pub(crate) ena: bool,
    /// Of the CopyImage that made it.
    #[serde(default)]
    pub(crate) copied_by: Option<CopyToken>,
}

fn yes() -> bool {
    true
}

/// How machines of an image boot, in EC2's words; kept and shown, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Firmware {
    pub(crate) boot_mode: Option<String>,
    pub(crate) tpm: bool,
    /// In base64.
    pub(crate) uefi_data: Option<String>,
}

impl Default for Firmware {
    /// That of the public image.
    fn default() -> Self {
        Self {
            boot_mode: Some("uefi-preferred".to_owned()),
            tpm: false,
            uefi_data: None,
        }
    }
}

/// Whether an image can be deregistered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protection {
    #[default]
    Disabled,
    Enabled {
        with_cooldown: bool,
    },
    /// Not any more, but only from then on.
    Cooling {
        until: Timestamp,
    },
}

impl Protection {
    pub(crate) fn holds(self, now: Timestamp) -> bool {
        match self {
            Self::Disabled => false,
            Self::Enabled { .. } => true,
            Self::Cooling { until } => now < until,
        }
    }
}

/// What makes a second call the same as the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyToken {
    pub(crate) token: String,
    pub(crate) digest: String,
}

/// Whether images of a region can be made public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockPublicAccess {
    /// As in an account that is new.
    #[default]
    BlockNewSharing,
    Unblocked,
}

/// Whether snapshots of a region can be made public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockPublicSnapshots {
    /// Nor are those that are public already.
    BlockAllSharing,
    BlockNewSharing,
    /// As in an account that is new.
    #[default]
    Unblocked,
}

/// What an image was made from: an instance and that instance's own image, or an
/// image of perhaps another region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) instance: Option<String>,
    pub(crate) image: String,
    /// Where that is another.
    #[serde(default)]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ImageState {
    Pending,
    Available,
    Failed(Reason),
}

/// The root volume that machines of an image get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRoot {
    pub(crate) snapshot: String,
    #[serde(flatten)]
    pub(crate) ebs: Ebs,
}

/// A volume that machines of an image get besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageVolume {
    /// `None`: it begins empty.
    pub(crate) snapshot: Option<String>,
    #[serde(flatten)]
    pub(crate) ebs: Ebs,
}

/// What a volume of EBS is to be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ebs {
    pub(crate) size_gib: u32,
    pub(crate) delete_on_termination: bool,
    pub(crate) performance: Performance,
    pub(crate) encrypted: bool,
    /// The ARN of the key that it is encrypted with, where that is not the default.
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
}

/// Type and speed of a volume; kept and shown, not enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Performance {
    pub(crate) kind: String,
    pub(crate) iops: Option<u32>,
    pub(crate) throughput: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Reason {
    pub(crate) fn new(code: &str, message: impl std::fmt::Display) -> Self {
        Self {
            code: code.to_owned(),
            message: format!("{code}: {message}"),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) description: String,
    pub(crate) volume: String,
    /// What it builds on, where that is not its volume.
    #[serde(default)]
    pub(crate) lineage: Option<String>,
    pub(crate) size_gib: u32,
    pub(crate) encrypted: bool,
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
    pub(crate) state: SnapshotState,
    pub(crate) started: Timestamp,
    pub(crate) completed: Option<Timestamp>,
    /// Before this it is not completed; its progress is shown accordingly.
    #[serde(skip)]
    pub(crate) due: Timestamp,
    /// The raw disk: under the state folder, or the shared source disk.
    pub(crate) disk: PathBuf,
    /// Accounts that may make volumes of it.
    #[serde(default)]
    pub(crate) volume_accounts: Vec<String>,
    /// Everybody may.
    #[serde(default)]
    pub(crate) public: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SnapshotState {
    Pending { percent: u8 },
    Completed,
    Error(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) size_gib: u32,
    /// What it began as; `None`: empty.
    pub(crate) snapshot: Option<String>,
    pub(crate) zone: String,
    pub(crate) performance: Performance,
    pub(crate) encrypted: bool,
    #[serde(default)]
    pub(crate) kms_key: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) disk: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) instance: String,
    pub(crate) device: String,
    pub(crate) at: Timestamp,
    pub(crate) delete_on_termination: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) reservation: String,
    pub(crate) launch_index: u32,
    pub(crate) image: String,
    pub(crate) arm: bool,
    pub(crate) kind: String,
    pub(crate) key_name: Option<String>,
    /// The key's line, which machines still get after the key pair is deleted.
    pub(crate) public_key: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) subnet: String,
    pub(crate) zone: String,
    pub(crate) private_address: Ipv4Addr,
    /// Where the machine answers, held for its life.
    pub(crate) public_address: Ipv4Addr,
    /// Whether clients are told that address.
    pub(crate) show_public: bool,
    /// Where SSH answers, when that is not port 22.
    pub(crate) ssh_port: Option<u16>,
    pub(crate) interface: String,
    pub(crate) interface_delete: bool,
    pub(crate) interface_description: String,
    pub(crate) attachment_id: String,
    pub(crate) root_device: String,
    pub(crate) root_volume: String,
    #[serde(default, with = "in_base64")]
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) client_token: Option<String>,
    /// What the launch asked for, as a digest; compared when its token returns.
    pub(crate) request_digest: String,
    pub(crate) metadata: MetadataOptions,
    pub(crate) on_shutdown: OnShutdown,
    pub(crate) protect_termination: bool,
    pub(crate) protect_stop: bool,
    pub(crate) ebs_optimized: bool,
    pub(crate) monitoring: bool,
    /// The name of its instance profile, with its path.
    #[serde(default)]
    pub(crate) profile: Option<String>,
    /// Of a Spot Instance, the request that it answers.
    #[serde(default)]
    pub(crate) spot_request: Option<String>,
    #[serde(default)]
    pub(crate) hardware: Hardware,
    #[serde(default)]
    pub(crate) firmware: Firmware,
    pub(crate) state: InstanceState,
    pub(crate) reason: Option<Reason>,
    /// `User initiated (2026-11-22 10:00:00 GMT)`
    pub(crate) transition: String,
    pub(crate) launched: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// Whether its SSH server has answered since it last started.
    #[serde(skip)]
    pub(crate) reachable: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LaunchTemplate {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) client_token: Option<String>,
    pub(crate) request_digest: String,
    pub(crate) default: u32,
    /// By their numbers, which count from 1. Never empty.
    pub(crate) versions: Vec<LaunchTemplateVersion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LaunchTemplateVersion {
    pub(crate) number: u32,
    pub(crate) description: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) data: LaunchTemplateData,
}

/// What a template says about a launch; all of it may be left open.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LaunchTemplateData {
    /// An id, or `resolve:ssm:` and the name of a parameter.
    pub(crate) image: Option<String>,
    pub(crate) instance_type: Option<String>,
    pub(crate) key_name: Option<String>,
    /// A name or an ARN.
    pub(crate) instance_profile: Option<String>,
    pub(crate) security_group_ids: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    /// In base64, as it was given.
    pub(crate) user_data: Option<String>,
    pub(crate) ebs_optimized: Option<bool>,
    pub(crate) protect_termination: Option<bool>,
    pub(crate) protect_stop: Option<bool>,
    pub(crate) on_shutdown: Option<String>,
}

impl LaunchTemplate {
    pub(crate) fn latest(&self) -> u32 {
        self.versions.last().map_or(0, |version| version.number)
    }
}

/// What kind of place a machine was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hardware {
    pub(crate) dedicated: bool,
    pub(crate) enclaves: bool,
    /// It takes no capacity reservation, not even an open one.
    pub(crate) no_reservation: bool,
}

impl Hardware {
    pub(crate) fn tenancy(&self) -> &'static str {
        if self.dedicated {
            "dedicated"
        } else {
            "default"
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetadataOptions {
    pub(crate) enabled: bool,
    pub(crate) tokens_required: bool,
    pub(crate) hop_limit: u8,
    pub(crate) show_tags: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnShutdown {
    Stop,
    Terminate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Image {
    /// Its volumes, the root first, then by device: each with the snapshot that it begins
    /// as, if any.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (&str, Option<&str>, &Ebs)> {
        let root = (
            self.root_device.as_str(),
            Some(self.root.snapshot.as_str()),
            &self.root.ebs,
        );
        let further = self
            .further
            .iter()
            .map(|(device, volume)| (device.as_str(), volume.snapshot.as_deref(), &volume.ebs));
        std::iter::once(root).chain(further)
    }

    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &str> {
        self.volumes().filter_map(|(_, snapshot, _)| snapshot)
    }

    pub(crate) fn stands_on(&self, snapshot: &str) -> bool {
        self.snapshots().any(|one| one == snapshot)
    }
}

impl ImageState {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed(_) => "failed",
        }
    }
}

impl Snapshot {
    /// Snapshots of one lineage can be compared.
    pub(crate) fn lineage(&self) -> &str {
        self.lineage.as_deref().unwrap_or(&self.volume)
    }
}

impl SnapshotState {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Completed => "completed",
            Self::Error(_) => "error",
        }
    }
}

impl KeyKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl Performance {
    pub(crate) fn gp2() -> Self {
        Self {
            kind: "gp2".to_owned(),
            iops: None,
            throughput: None,
        }
    }

    /// What gp3 has when nothing else is said.
    pub(crate) fn gp3() -> Self {
        Self {
            kind: "gp3".to_owned(),
            iops: Some(3000),
            throughput: Some(125),
        }
    }
}

impl World {
    pub(crate) fn region(&mut self, name: &str) -> &mut RegionState {
        self.regions.entry(name.to_owned()).or_default()
    }

    /// Whether a living instance of any region holds an address.
    pub(crate) fn address_taken(&self, address: Ipv4Addr) -> bool {
        self.regions
            .values()
            .flat_map(|region| region.instances.values())
            .filter(|instance| instance.state != InstanceState::Terminated)
            .any(|instance| {
                instance.private_address == address || instance.public_address == address
            })
    }

    pub(crate) fn instance(&mut self, region: &str, id: &str) -> Option<&mut Instance> {
        self.regions.get_mut(region)?.instances.get_mut(id)
    }
}

impl RegionState {
    /// The tags of a resource.
    pub(crate) fn tags_of<'a>(
        &'a self,
        id: &str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.tags
            .get(id)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether a taggable resource is there now.
    pub(crate) fn exists(&self, region: super::regions::Region, id: &str) -> Option<Resource> {
        let resource = Resource::of(id)?;
        let there = match resource {
            Resource::Image => self.images.contains_key(id),
            Resource::Instance => self.instances.contains_key(id),
            Resource::KeyPair => self.keys.contains_key(id),
            Resource::LaunchTemplate => self.launch_templates.contains_key(id),
            Resource::NetworkInterface => self.instances.values().any(|instance| {
                instance.interface == id && instance.state != InstanceState::Terminated
            }),
            Resource::SecurityGroup => self.groups.contains_key(id),
            Resource::SecurityGroupRule => self
                .groups
                .values()
                .any(|group| group.ingress.iter().any(|rule| rule.id == id)),
            Resource::Snapshot => self.snapshots.contains_key(id),
            Resource::SpotRequest => self
                .instances
                .values()
                .any(|instance| instance.spot_request.as_deref() == Some(id)),
            Resource::Subnet => super::network::subnets(region)
                .iter()
                .any(|subnet| subnet.id == id),
            Resource::Volume => self.volumes.contains_key(id),
            Resource::Vpc => super::network::vpc_id(region) == id,
            Resource::Reservation => false,
        };
        there.then_some(resource)
    }

    /// The volumes of an instance, the root first, then by device.
    pub(crate) fn volumes_of<'a>(
        &'a self,
        instance: &Instance,
    ) -> Vec<(&'a Volume, &'a Attachment)> {
        let mut attached: Vec<_> = self
            .volumes
            .values()
            .filter_map(|volume| Some((volume, volume.attachment.as_ref()?)))
            .filter(|(_, attachment)| attachment.instance == instance.id)
            .collect();
        attached.sort_by_key(|(volume, attachment)| {
            (volume.id != instance.root_volume, &attachment.device)
        });
        attached
    }

    pub(crate) fn key_named(&self, name: &str) -> Option<&KeyPair> {
        self.keys.values().find(|key| key.name == name)
    }

    pub(crate) fn launch_template_named(&self, name: &str) -> Option<&LaunchTemplate> {
        self.launch_templates
            .values()
            .find(|template| template.name == name)
    }

    pub(crate) fn group_named(&self, name: &str) -> Option<&SecurityGroup> {
        self.groups.values().find(|group| group.name == name)
    }
}

/// Bytes as one string: JSON would write a list of numbers.
mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        bytes
            .as_ref()
            .map(|bytes| STANDARD.encode(bytes))
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| STANDARD.decode(text).map_err(D::Error::custom))
            .transpose()
    }
}
