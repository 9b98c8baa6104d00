//! Ids of resources: EC2's prefixes with seventeen hexadecimal digits, and the
//! difference between an id that is malformed and one that names nothing.

use rand::RngCore as _;

use crate::api::error::ApiError;

/// The sorts of things that have ids here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Image,
    Instance,
    KeyPair,
    LaunchTemplate,
    NetworkInterface,
    Reservation,
    SecurityGroup,
    SecurityGroupRule,
    Snapshot,
    SpotRequest,
    Subnet,
    Volume,
    Vpc,
}

impl Resource {
    const TAGGABLE: [Self; 12] = [
        Self::Image,
        Self::Instance,
        Self::KeyPair,
        Self::LaunchTemplate,
        Self::NetworkInterface,
        Self::SecurityGroup,
        Self::SecurityGroupRule,
        Self::Snapshot,
        Self::SpotRequest,
        Self::Subnet,
        Self::Volume,
        Self::Vpc,
    ];

    fn prefix(self) -> &'static str {
        match self {
            Self::Image => "ami-",
            Self::Instance => "i-",
            Self::KeyPair => "key-",
            Self::LaunchTemplate => "lt-",
            Self::NetworkInterface => "eni-",
            Self::Reservation => "r-",
            Self::SecurityGroup => "sg-",
            Self::SecurityGroupRule => "sgr-",
            Self::Snapshot => "snap-",
            Self::SpotRequest => "sir-",
            Self::Subnet => "subnet-",
            Self::Volume => "vol-",
            Self::Vpc => "vpc-",
        }
    }

    /// The word for it in tag specifications and DescribeTags.
    pub(crate) fn tag_type(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Instance => "instance",
            Self::KeyPair => "key-pair",
            Self::LaunchTemplate => "launch-template",
            Self::NetworkInterface => "network-interface",
            Self::Reservation => "reservation",
            Self::SecurityGroup => "security-group",
            Self::SecurityGroupRule => "security-group-rule",
            Self::Snapshot => "snapshot",
            Self::SpotRequest => "spot-instances-request",
            Self::Subnet => "subnet",
            Self::Volume => "volume",
            Self::Vpc => "vpc",
        }
    }

    /// What an id names by its form; `None` when it is no id at all.
    pub(crate) fn of(id: &str) -> Option<Self> {
        Self::TAGGABLE
            .into_iter()
            .find(|resource| resource.is_wellformed(id))
    }

    fn is_wellformed(self, id: &str) -> bool {
        id.strip_prefix(self.prefix()).is_some_and(|digits| {
            matches!(digits.len(), 8 | 17)
                && digits
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }

    /// A fresh id.
    pub(crate) fn fresh(self) -> String {
        let mut bytes = [0_u8; 9];
        rand::rng().fill_bytes(&mut bytes);
        format!("{}0{}", self.prefix(), &hex::encode(bytes)[..16])
    }

    /// The same id for the same content, for what is made anew at each start.
    pub(crate) fn derived(self, content: &str) -> String {
        use sha2::Digest as _;
        let digest = hex::encode(sha2::Sha256::digest(format!("{}{content}", self.prefix())));
        format!("{}0{}", self.prefix(), &digest[..16])
    }

    /// Refuses what cannot be an id of this sort.
    pub(crate) fn check(self, id: &str) -> Result<(), ApiError> {
        if self.is_wellformed(id) {
            return Ok(());
        }
        let (code, message) = match self {
            Self::Image => (
                "InvalidAMIID.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"ami-...\")"),
            ),
            Self::Instance => (
                "InvalidInstanceID.Malformed",
                format!("Invalid id: \"{id}\""),
            ),
            Self::KeyPair => ("InvalidKeyPair.Malformed", format!("Invalid id: \"{id}\"")),
            Self::LaunchTemplate => (
                "InvalidLaunchTemplateId.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"lt-...\")"),
            ),
            Self::NetworkInterface => (
                "InvalidNetworkInterfaceId.Malformed",
                format!("Invalid id: \"{id}\""),
            ),
            Self::Reservation => (
                "InvalidReservationID.Malformed",
                format!("Invalid id: \"{id}\""),
            ),
            Self::SecurityGroup => (
                "InvalidGroupId.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"sg-...\")"),
            ),
            Self::SecurityGroupRule => (
                "InvalidSecurityGroupRuleId.Malformed",
                format!("Invalid id: \"{id}\""),
            ),
            Self::Snapshot => (
                "InvalidSnapshotID.Malformed",
                format!("Invalid id: \"{id}\""),
            ),
            Self::SpotRequest => (
                "InvalidSpotInstanceRequestID.Malformed",
                format!("Invalid id: \"{id}\""),
            ),
            Self::Subnet => ("InvalidSubnetID.Malformed", format!("Invalid id: \"{id}\"")),
            Self::Volume => ("InvalidVolumeID.Malformed", format!("Invalid id: \"{id}\"")),
            Self::Vpc => ("InvalidVpcID.Malformed", format!("Invalid id: \"{id}\"")),
        };
        Err(ApiError::new(code, message))
    }

    /// The refusal of an id that names nothing.
    pub(crate) fn not_found(self, id: &str) -> ApiError {
        let (code, message) = match self {
            Self::Image => (
                "InvalidAMIID.NotFound",
                format!("The image id '[{id}]' does not exist"),
            ),
            Self::Instance => (
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            ),
            Self::KeyPair => (
                "InvalidKeyPair.NotFound",
                format!("The key pair '{id}' does not exist"),
            ),
            Self::LaunchTemplate => (
                "InvalidLaunchTemplateId.NotFound",
                format!("The specified launch template, with template ID {id}, does not exist."),
            ),
            Self::NetworkInterface => (
                "InvalidNetworkInterfaceID.NotFound",
                format!("The networkInterface ID '{id}' does not exist"),
            ),
            Self::Reservation => (
                "InvalidReservationID.NotFound",
                format!("The reservation ID '{id}' does not exist"),
            ),
            Self::SecurityGroup => (
                "InvalidGroup.NotFound",
                format!("The security group '{id}' does not exist"),
            ),
            Self::SecurityGroupRule => (
                "InvalidSecurityGroupRuleId.NotFound",
                format!("The security group rule ID '{id}' does not exist"),
            ),
            Self::Snapshot => (
                "InvalidSnapshot.NotFound",
                format!("The snapshot '{id}' does not exist."),
            ),
            Self::SpotRequest => (
                "InvalidSpotInstanceRequestID.NotFound",
                format!("The spot instance request ID '{id}' does not exist"),
            ),
            Self::Subnet => (
                "InvalidSubnetID.NotFound",
                format!("The subnet ID '{id}' does not exist"),
            ),
            Self::Volume => (
                "InvalidVolume.NotFound",
                format!("The volume '{id}' does not exist."),
            ),
            Self::Vpc => (
                "InvalidVpcID.NotFound",
                format!("The vpc ID '{id}' does not exist"),
            ),
        };
        ApiError::new(code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_wellformed_and_differ() {
        for resource in Resource::TAGGABLE {
            let (one, two) = (resource.fresh(), resource.fresh());
            assert_ne!(one, two);
            assert_eq!(Resource::of(&one), Some(resource));
            assert!(resource.check(&one).is_ok());
        }
    }

    #[test]
    fn malformed_is_not_unknown() {
        for bad in [
            "",
            "ami-",
            "ami-xyz",
            "ami-0123456789abcdef",
            "i-0123456789abcdef0",
            "ami-0123456789ABCDEF0",
        ] {
            assert_eq!(
                Resource::Image.check(bad).unwrap_err().code(),
                "InvalidAMIID.Malformed",
                "{bad}"
            );
        }
        assert!(Resource::Image.check("ami-12345678").is_ok());
    }
}
