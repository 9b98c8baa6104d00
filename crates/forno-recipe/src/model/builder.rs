//! The machine on which an image is made.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Late, Values, Words};
use crate::units::{Period, Size};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Architecture {
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    #[serde(rename = "arm64")]
    Arm64,
}

impl Architecture {
    /// EC2's own word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct BuilderTable {
    /// Instance types, tried in this order until one can be had. Default:
    /// `["t3.medium", "t3a.medium"]`, on arm64 `["t4g.medium"]`.
    pub(crate) instance_types: Vec<String>,
    /// The root volume of the builder; the image gets one like it.
    pub(crate) disk: Disk,
    /// Volumes besides the root, an entry `[[builder.volumes]]` each. They go with the
    /// builder; the image has a snapshot of each unless it says otherwise.
    pub(crate) volumes: Vec<DataVolume>,
    /// Whether snapshots of the builder's volumes are begun as soon as the steps are done, and
    /// go on beside checks, seal and stop. EC2 copies only what has changed since the last
    /// snapshot of a volume, so those of the image are done sooner. They are removed in the end.
    pub(crate) early_snapshots: bool,
    /// How machines are bought, tried in this order: with `["spot", "on-demand"]` every
    /// type in every subnet is asked for as a Spot Instance before one is paid in full.
    /// The image of a Spot Instance is made while that reboots: EC2 cannot stop it.
    /// Default: `["on-demand"]`.
    pub(crate) market: Vec<Market>,
    /// The most that a Spot Instance may cost, in USD per hour, such as `"0.05"`. EC2
    /// takes such machines back more often. Default: the price on demand.
    pub(crate) spot_max_price: Option<String>,
    /// Subnets, tried in this order. Default: those of the default VPC.
    pub(crate) subnet_ids: Vec<String>,
    /// Subnets that match all of these, by EC2's own filter names, such as
    /// `{ "tag:tier" = "build" }`; those with the most free addresses first. Several
    /// values are alternatives. Not together with `subnet_ids`.
    pub(crate) subnet_filters: BTreeMap<String, Values>,
    /// The VPC whose subnets are taken, where none are named. Default: the default VPC.
    pub(crate) vpc_id: Option<String>,
    /// The one VPC that matches all of these, by EC2's own filter names. Not together with
    /// `vpc_id`.
    pub(crate) vpc_filters: BTreeMap<String, Values>,
    /// Existing security groups to use. Default: one is made for the bake,
    /// open to this machine's own address only (and to nobody where `connect` needs
    /// no port), and deleted afterwards.
    pub(crate) security_group_ids: Vec<String>,
    /// Existing security groups to use: all in the VPC that match, by EC2's own filter
    /// names. Not together with `security_group_ids`.
    pub(crate) security_group_filters: BTreeMap<String, Values>,
    /// Whether the builder gets a public address. Default: as its subnet says.
    pub(crate) public_ip: Option<bool>,
    /// The IAM instance profile (its name) that the builder may use.
    pub(crate) instance_profile: Option<String>,
    /// A role and an instance profile that are made for the bake and removed with it. Not
    /// together with `instance_profile`.
    pub(crate) temporary_profile: Option<TemporaryProfileTable>,
    /// User data of the builder, beside forno's own: a cloud-config, or a script that
    /// runs at the first boot, before the first step. At most 16 KiB with forno's.
    pub(crate) user_data: Option<Late>,
    /// A file (its path relative to the recipe) that is the user data; `{{ … }}` in it is
    /// not filled in. Not together with `user_data`.
    pub(crate) user_data_file: Option<String>,
    /// What kind of place EC2 gives the machine.
    pub(crate) machine: MachineOptions,
    /// The image's login user: `admin` on Debian, `ubuntu` on Ubuntu,
    /// `ec2-user` on Amazon Linux. Default: `admin`.
    pub(crate) user: Option<String>,
    /// How forno reaches the builder and the test machine. Default: `ssh`.
    pub(crate) connect: Connect,
    /// Which of its addresses SSH goes to. Default: the public one where there is one; with
    /// `bastion` or `proxy_command` the private one.
    pub(crate) address: Option<Address>,
    /// The host through which SSH goes, as `[USER@]HOST[:PORT]`. This machine's own `ssh`
    /// makes that connection, with its keys, agent, certificates, known hosts and
    /// `~/.ssh/config`; it must need no answer. Not together with `proxy_command`.
    pub(crate) bastion: Option<String>,
    /// A program whose input and output are the connection to sshd, in which `%h` stands
    /// for the machine's address and `%p` for its port, as in OpenSSH's ProxyCommand: `nc -X 5
    /// -x proxy:1080 %h %p` for SOCKS, `nc -X connect …` for HTTP. No shell reads it.
    pub(crate) proxy_command: Option<Words>,
    /// What SSH may be made of, where a policy or the image's sshd has a say in it.
    pub(crate) ssh: SshOptions,
    /// From where the builder's own security group lets SSH in, in CIDR notation. Default:
    /// this machine's own address. Required with `bastion` and `proxy_command`: the builder
    /// sees them.
    pub(crate) ingress_cidrs: Vec<String>,
    /// What only matters where machines are reached by Run Command.
    pub(crate) ssm: SsmTable,
    /// How long each part of a bake may take at most.
    pub(crate) timeouts: Timeouts,
    /// The builder's instance metadata service.
    pub(crate) imds: Imds,
    /// Tags of everything temporary: builder, volumes, key pair, security group, bucket.
    pub(crate) tags: BTreeMap<String, Late>,
}

/// What the machines of a bake may do, and nobody else.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct TemporaryProfileTable {
    /// An IAM policy, in JSON: what the machines may do.
    pub(crate) policy: Option<String>,
    /// The same as a file, relative to the recipe. Not together with `policy`.
    pub(crate) policy_file: Option<String>,
    /// Managed policies, by their ARNs; at most ten. Where `connect` needs the SSM agent,
    /// `AmazonSSMManagedInstanceCore` is one of them without being named.
    pub(crate) policy_arns: Vec<String>,
    /// The ARN of a policy that bounds what the others allow, where the account wants one.
    pub(crate) permissions_boundary: Option<String>,
}

/// How a machine is bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the full price, for as long as one likes.
    #[default]
    OnDemand,
    /// For less, until EC2 wants it back.
    Spot,
}

impl Market {
    /// As a recipe spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }
}

/// What kind of place EC2 gives a machine. It holds for the test machine too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct MachineOptions {
    /// Whether the disk has a network of its own, on types where that is a choice.
    /// Default: as the type has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebs_optimized: Option<bool>,
    /// What a burstable type (t2, t3, t3a, t4g) does when its CPU credits are used up:
    /// `standard` slows down, `unlimited` goes on and costs. Default: as the account has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_credits: Option<CpuCredits>,
    /// Whether Nitro Enclaves can be made on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nitro_enclaves: bool,
    /// Whether the hardware is shared with other accounts (`default`), is this account's
    /// alone (`dedicated`), or is a Dedicated Host (`host`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<Tenancy>,
    /// The Dedicated Host, with `tenancy = "host"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// The resource group in which a Dedicated Host is found, with `tenancy = "host"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_resource_group_arn: Option<String>,
    /// The name of an existing placement group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_group: Option<String>,
    /// `open`: any open reservation that fits; `none`: none at all; the id of one
    /// (`cr-…`), or the ARN of a resource group of them. Default: `open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_reservation: Option<String>,
    /// License configurations to use, by their ARNs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub license_configuration_arns: Vec<String>,
}

impl MachineOptions {
    /// All of it is as EC2 has it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CpuCredits {
    Standard,
    Unlimited,
}

impl CpuCredits {
    /// EC2's own word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Unlimited => "unlimited",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tenancy {
    Default,
    Dedicated,
    Host,
}

impl Tenancy {
    /// EC2's own word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Dedicated => "dedicated",
            Self::Host => "host",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connect {
    /// SSH to the machine's address.
    #[default]
    Ssh,
    /// Run Command of AWS Systems Manager: no open port, no key pair, no sshd.
    /// The image needs the SSM agent, and the machine must be allowed to use it.
    Ssm,
    /// SSH through a session of Systems Manager: no open port. The image
    /// needs the SSM agent and sshd.
    SshOverSsm,
}

/// One of a machine's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    Public,
    Private,
}

impl Connect {
    pub const ALL: [Self; 3] = [Self::Ssh, Self::Ssm, Self::SshOverSsm];

    /// As a recipe spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Ssm => "ssm",
            Self::SshOverSsm => "ssh-over-ssm",
        }
    }

    /// Whether Systems Manager must know the machine.
    pub const fn needs_agent(self) -> bool {
        !matches!(self, Self::Ssh)
    }
}

impl std::fmt::Display for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What SSH may be made of; Ansible's and `forno shell`'s too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct SshOptions {
    /// Only these ciphers, in this order. Default: `aes128-gcm@openssh.com`,
    /// `aes256-gcm@openssh.com`, `chacha20-poly1305@openssh.com`, `aes256-ctr`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ciphers: Vec<Cipher>,
    /// Only these key exchanges, in this order. Default: ML-KEM with X25519, X25519, the NIST
    /// curves, Diffie-Hellman, all with SHA-2.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_exchanges: Vec<KeyExchange>,
}

impl SshOptions {
    /// All of it is as forno has it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes an enum of names that stand in a recipe as they stand in SSH.
macro_rules! ssh_names {
    ($(#[$about:meta])* $kind:ident { $($variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $kind {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl $kind {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// SSH's own word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

ssh_names! {
    /// Those that are thought safe.
    Cipher {
        Aes128Gcm = "aes128-gcm@openssh.com",
        Aes256Gcm = "aes256-gcm@openssh.com",
        ChaCha20Poly1305 = "chacha20-poly1305@openssh.com",
        Aes128Ctr = "aes128-ctr",
        Aes192Ctr = "aes192-ctr",
        Aes256Ctr = "aes256-ctr",
    }
}

ssh_names! {
    /// Those that are thought safe.
    KeyExchange {
        MlKem768X25519 = "mlkem768x25519-sha256",
        Curve25519 = "curve25519-sha256",
        Curve25519LibSsh = "curve25519-sha256@libssh.org",
        EcdhNistP256 = "ecdh-sha2-nistp256",
        EcdhNistP384 = "ecdh-sha2-nistp384",
        EcdhNistP521 = "ecdh-sha2-nistp521",
        DhGroup14 = "diffie-hellman-group14-sha256",
        DhGroup15 = "diffie-hellman-group15-sha512",
        DhGroup16 = "diffie-hellman-group16-sha512",
        DhGroup17 = "diffie-hellman-group17-sha512",
        DhGroup18 = "diffie-hellman-group18-sha512",
        DhGroupExchange = "diffie-hellman-group-exchange-sha256",
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct SsmTable {
    /// How files, input and anything secret get to the machine. Default: `bucket`.
    pub(crate) files: SsmFiles,
    /// An existing bucket of the bake's region to use, below `forno/`. Default:
    /// one is made for the bake and removed with it.
    pub(crate) bucket: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SsmFiles {
    /// Through a bucket, by URLs that are signed for one object and a short time.
    #[default]
    Bucket,
    /// In the text of commands: small files only, and recipes without secrets,
    /// because Systems Manager keeps what it ran.
    Commands,
}

/// The root volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct Disk {
    /// Its size, in whole GiB. Default: that of the source image; it cannot be smaller.
    pub size: Option<Size>,
    /// The kind of volume.
    pub r#type: VolumeType,
    /// Operations per second. gp3: 3000 to 80000 and at most 500 per GiB
    /// (default 3000); io1: 100 to 64000, at most 50 per GiB; io2: 100 to
    /// 256000, at most 1000 per GiB. Required for io1 and io2, refused for others.
    pub iops: Option<u32>,
    /// MiB per second; gp3 only: 125 to 2000 and at most a quarter of the iops. Default: 125.
    pub throughput: Option<u32>,
    /// Whether the volume, and with it the image, is encrypted. `false`
    /// leaves it as the source image is.
    pub encrypted: bool,
    /// The KMS key to encrypt with (id, alias or ARN). Default: the account's own for EBS.
    pub kms_key_id: Option<String>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            size: None,
            r#type: VolumeType::Gp3,
            iops: None,
            throughput: None,
            encrypted: true,
            kms_key_id: None,
        }
    }
}

/// A volume besides the root. What is not said is as for `builder.disk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct DataVolume {
    /// The device to which EC2 attaches it, `/dev/sdf` to `/dev/sdp` by EC2's advice. On Nitro
    /// types the machine calls it `/dev/nvme1n1` and on, its serial number is the volume's id.
    /// A device that the source image has a volume at changes that volume.
    pub device: String,
    /// Its size, in whole GiB. Required unless there is `snapshot_id`, or the source image has
    /// such a device; then it cannot be smaller than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The kind of volume; here also `st1` and `sc1`, of 125 GiB and more.
    pub r#type: VolumeType,
    /// Operations per second, in the ranges of `builder.disk.iops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB per second, in the ranges of `builder.disk.throughput`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    /// Whether the volume is encrypted. `false` leaves it as its snapshot is.
    pub encrypted: bool,
    /// The KMS key to encrypt with (id, alias or ARN). Default: the account's own for EBS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// The snapshot that it begins as. Default: that of the source image, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Whether the builder, and with it the image, goes without the volume that the source
    /// image has at this device. Says all there is to say.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_device: bool,
    /// Whether the image has it: a snapshot of what it holds at the end.
    pub in_image: bool,
    /// Whether, on machines of the image, it goes with its machine. The builder's always does.
    pub delete_on_termination: bool,
}

impl Default for DataVolume {
    fn default() -> Self {
        Self {
            device: String::new(),
            size: None,
            r#type: VolumeType::Gp3,
            iops: None,
            throughput: None,
            encrypted: true,
            kms_key_id: None,
            snapshot_id: None,
            no_device: false,
            in_image: true,
            delete_on_termination: true,
        }
    }
}

/// Volume types; `st1` and `sc1` cannot hold a root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    #[default]
    Gp3,
    Gp2,
    Io1,
    Io2,
    Standard,
    St1,
    Sc1,
}

impl VolumeType {
    /// EC2's own word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gp3 => "gp3",
            Self::Gp2 => "gp2",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::Standard => "standard",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
        }
    }
}

/// Deadlines of a bake's parts. Steps, checks and tests have their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct Timeouts {
    /// The whole bake. After it everything is torn down, and everything that
    /// it made counts as forgotten (tag `forno:expires`). At least `10m`.
    pub total: Period,
    /// From the launch until the machine runs.
    pub launch: Period,
    /// From running until SSH, or the SSM agent, answers.
    pub connect: Period,
    /// From the first connection until cloud-init is done and the package
    /// manager is free.
    pub ready: Period,
    /// A machine that stops, or comes back from a reboot.
    pub stop: Period,
    /// From the stopped machine until its image is available.
    pub capture: Period,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            total: Period::from_secs(2 * 3600),
            launch: Period::from_secs(600),
            connect: Period::from_secs(600),
            ready: Period::from_secs(600),
            stop: Period::from_secs(600),
            capture: Period::from_secs(3600),
        }
    }
}

/// Settings of the instance metadata service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub struct Imds {
    /// Whether a session token is required (IMDSv2) or optional (IMDSv1 also answers).
    pub tokens: ImdsTokens,
    /// How many network hops an answer may travel; 2 lets containers on the builder ask.
    #[schemars(range(min = 1, max = 64))]
    pub hop_limit: u32,
}

impl Default for Imds {
    fn default() -> Self {
        Self {
            tokens: ImdsTokens::Required,
            hop_limit: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImdsTokens {
    Required,
    Optional,
}
