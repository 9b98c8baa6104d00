//! A network from which a machine may be reached.
//!
//! EC2 refuses a range whose host bits are set (`10.0.0.1/8`), so this type cannot
//! hold one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address range such as `203.0.113.7/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    #[error("`{0}` is not an address range such as 203.0.113.7/32")]
    Form(String),
    #[error("`{text}` has bits set behind its prefix; did you mean `{meant}`?")]
    HostBits { text: String, meant: Cidr },
}

impl Cidr {
    /// Exactly this address.
    pub fn host(address: IpAddr) -> Self {
        let prefix = width(address);
        Self { address, prefix }
    }

    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// It leaves nobody out.
    pub fn is_everywhere(&self) -> bool {
        self.prefix == 0
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let form = || InvalidCidr::Form(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        if prefix > width(address) {
            return Err(form());
        }
        let network = masked(address, prefix);
        if network != address {
            return Err(InvalidCidr::HostBits {
                text: text.to_owned(),
                meant: Cidr {
                    address: network,
                    prefix,
                },
            });
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_survives_text(bits in any::<u32>(), prefix in 0u8..=32) {
            let network = masked(IpAddr::V4(Ipv4Addr::from_bits(bits)), prefix);
            let text = format!("{network}/{prefix}");
            prop_assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }

        #[test]
        fn an_ipv6_range_survives_text(bits in any::<u128>(), prefix in 0u8..=128) {
            let network = masked(IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix);
            let text = format!("{network}/{prefix}");
            prop_assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_is_a_range_of_one() {
        assert_eq!(
            Cidr::host(Ipv4Addr::LOCALHOST.into()).to_string(),
            "127.0.0.1/32"
        );
        assert_eq!(
            Cidr::host(Ipv6Addr::LOCALHOST.into()).to_string(),
            "::1/128"
        );
    }

    #[test]
    fn bits_behind_the_prefix_are_refused_with_a_proposal() {
        assert_eq!(
            "10.1.2.3/8".parse::<Cidr>().unwrap_err().to_string(),
            "`10.1.2.3/8` has bits set behind its prefix; did you mean `10.0.0.0/8`?"
        );
        for text in ["10.0.0.0", "10.0.0.0/33", "/8", "ten/8", "10.0.0.0/"] {
            assert!(
                matches!(text.parse::<Cidr>(), Err(InvalidCidr::Form(_))),
                "{text}"
            );
        }
    }
}
