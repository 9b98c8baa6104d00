//! The network of a region: one default VPC with a default subnet per zone.
//! All of it follows from the region's name, so nothing of it is stored. The
//! subnets divide 172.31.0.0/20, the network that machines really have.

use std::net::Ipv4Addr;

use super::ids::Resource;
use super::regions::{Region, Zone};

pub(crate) const VPC_CIDR: &str = "172.31.0.0/16";
/// Addresses in a /22, less the five that EC2 keeps for itself.
pub(crate) const SUBNET_ADDRESSES: usize = 1024 - 5;

/// A default subnet.
#[derive(Debug, Clone)]
pub(crate) struct Subnet {
    pub(crate) id: String,
    pub(crate) zone: Zone,
}

/// The id of a region's VPC.
pub(crate) fn vpc_id(region: Region) -> String {
    Resource::Vpc.derived(region.name)
}

/// The id of a region's DHCP options.
pub(crate) fn dhcp_options_id(region: Region) -> String {
    Resource::Vpc
        .derived(&format!("dhcp {}", region.name))
        .replacen("vpc-", "dopt-", 1)
}

/// The subnets of a region, one per zone.
pub(crate) fn subnets(region: Region) -> Vec<Subnet> {
    region
        .zones()
        .into_iter()
        .map(|zone| Subnet {
            id: Resource::Subnet.derived(&zone.name()),
            zone,
        })
        .collect()
}

impl Subnet {
    pub(crate) fn cidr(&self) -> String {
        format!("172.31.{}.0/22", self.zone.index() * 4)
    }

    /// The first address that is not taken. The low ones belong to the network
    /// itself (gateway, name server).
    pub(crate) fn free_address(&self, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let base = u32::from(Ipv4Addr::new(172, 31, self.zone.index() * 4, 0));
        (128..1023)
            .map(|host| Ipv4Addr::from(base + host))
            .find(|address| !taken(*address))
    }
}

/// A loopback address for a machine to answer on. Drawn at random from a range
/// that nothing else uses, because other endpoints of this computer draw too.
pub(crate) fn public_address(taken: impl Fn(Ipv4Addr) -> bool) -> Ipv4Addr {
    use rand::Rng as _;
    let mut random = rand::rng();
    loop {
        let address = Ipv4Addr::new(
            127,
            random.random_range(16..240),
            random.random(),
            random.random_range(1..255),
        );
        if !taken(address) {
            return address;
        }
    }
}

/// `ip-172-31-0-128.ec2.internal`, as EC2 names hosts.
pub(crate) fn private_dns(address: Ipv4Addr, region: &str) -> String {
    let dashed = address.to_string().replace('.', "-");
    if region == "us-east-1" {
        format!("ip-{dashed}.ec2.internal")
    } else {
        format!("ip-{dashed}.{region}.compute.internal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_last_and_differ() {
        let region = Region::find("us-east-1").unwrap();
        assert_eq!(vpc_id(region), vpc_id(region));
        let subnets = subnets(region);
        assert_eq!(subnets.len(), 3);
        assert_ne!(subnets[0].id, subnets[1].id);
        assert!(Resource::Subnet.check(&subnets[0].id).is_ok());
    }

    #[test]
    fn addresses_lie_in_their_subnet() {
        let region = Region::find("us-east-1").unwrap();
        let subnet = &subnets(region)[1];
        assert_eq!(subnet.cidr(), "172.31.4.0/22");
        let first = subnet.free_address(|_| false).unwrap();
        assert_eq!(first, Ipv4Addr::new(172, 31, 4, 128));
        assert_ne!(subnet.free_address(|address| address == first), Some(first));
        assert_eq!(subnet.free_address(|_| true), None);
    }

    #[test]
    fn public_addresses_are_loopback() {
        for _ in 0..100 {
            assert!(public_address(|_| false).is_loopback());
        }
    }
}
