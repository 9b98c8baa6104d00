//! Identifiers that cannot be mixed up.
//!
//! An image id where an instance id belongs is a compile error, and a text that EC2
//! would refuse never becomes one: a prefix, then 8 or 17 lower-case hexadecimal
//! digits (the old and the new length).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no id of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected `{prefix}` and 8 or 17 hexadecimal digits")]
pub struct InvalidId {
    pub what: &'static str,
    pub prefix: &'static str,
    pub text: String,
}

fn well_formed(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

macro_rules! resource_id {
    ($name:ident, $prefix:literal, $what:literal) => {
        #[doc = concat!("The id of ", $what, ": `", $prefix, "…`.")]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if well_formed(&text, $prefix) {
                    Ok(Self(text))
                } else {
                    Err(InvalidId {
                        what: concat!("the id of ", $what),
                        prefix: $prefix,
                        text,
                    })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

resource_id!(ImageId, "ami-", "an image");
resource_id!(InstanceId, "i-", "an instance");
resource_id!(KeyPairId, "key-", "a key pair");
resource_id!(NetworkInterfaceId, "eni-", "a network interface");
resource_id!(SecurityGroupId, "sg-", "a security group");
resource_id!(SnapshotId, "snap-", "a snapshot");
resource_id!(SubnetId, "subnet-", "a subnet");
resource_id!(VolumeId, "vol-", "a volume");
resource_id!(VpcId, "vpc-", "a VPC");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_ec2_gives_out_is_accepted_and_kept(digits in "[0-9a-f]{8}|[0-9a-f]{17}") {
            let text = format!("ami-{digits}");
            let id: ImageId = text.parse().unwrap();
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(id.to_string(), text.clone());
            prop_assert_eq!(String::from(id), text);
        }

        #[test]
        fn another_length_or_alphabet_is_refused(digits in "[0-9a-f]{0,7}|[0-9a-f]{9,16}|[0-9a-f]{18,24}|[0-9a-f]{7}[g-zG-ZA-F \n.]") {
            let text = format!("ami-{digits}");
            prop_assert!(ImageId::new(text).is_err());
        }

        #[test]
        fn nothing_makes_the_check_panic(text in any::<String>()) {
            let _ = InstanceId::new(text);
        }

        #[test]
        fn kinds_do_not_mix(digits in "[0-9a-f]{17}") {
            let image = format!("ami-{digits}");
            let instance = format!("i-{digits}");
            prop_assert!(InstanceId::new(image).is_err());
            prop_assert!(ImageId::new(instance.clone()).is_err());
            prop_assert!(SubnetId::new(instance).is_err());
        }
    }

    #[test]
    fn the_message_says_what_was_expected() {
        let error = SnapshotId::new("snap-xyz").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`snap-xyz` is not the id of a snapshot: expected `snap-` and 8 or 17 hexadecimal digits"
        );
    }
}
