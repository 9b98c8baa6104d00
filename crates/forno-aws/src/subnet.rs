//! Where a builder may stand: VPCs and their subnets.

use aws_sdk_ec2::types::{Filter, Subnet as SdkSubnet};

use crate::convert::{Nonsense, count, required};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::{SubnetId, VpcId};
use crate::tag::{Filters, filter, sdk_filters};

/// A subnet as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: SubnetId,
    pub vpc: VpcId,
    pub availability_zone: String,
    pub free_addresses: u32,
    /// The one that EC2 takes when nobody names one.
    pub default_for_zone: bool,
    /// Machines get a public address without asking.
    pub public_by_default: bool,
}

impl Gateway {
    /// The region's default VPC; many accounts have deleted theirs.
    pub async fn default_vpc(&self) -> Result<Option<VpcId>, Error> {
        let default = Filters::from([("is-default".to_owned(), vec!["true".to_owned()])]);
        Ok(self.vpcs_like(&default).await?.into_iter().next())
    }

    /// The VPCs that match, by EC2's filter names; the values of one are alternatives.
    pub async fn vpcs_like(&self, filters: &Filters) -> Result<Vec<VpcId>, Error> {
        let call = self.call("DescribeVpcs");
        let pages = self
            .clients()
            .ec2
            .describe_vpcs()
            .set_filters(Some(sdk_filters(filters)))
            .into_paginator()
            .items()
            .send();
        pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| call.failed(&error))?
            .into_iter()
            .filter_map(|vpc| vpc.vpc_id)
            .map(VpcId::new)
            .collect::<Result<_, _>>()
            .map_err(|error| call.malformed(error))
    }

    /// The subnets that match and are ready, of one VPC or of all, the fullest last.
    pub async fn subnets_like(
        &self,
        vpc: Option<&VpcId>,
        filters: &Filters,
    ) -> Result<Vec<Subnet>, Error> {
        let mut filters = sdk_filters(filters);
        filters.push(filter("state", ["available"]));
        filters.extend(vpc.map(|vpc| filter("vpc-id", [vpc.as_str()])));
        self.find_subnets(filters).await
    }

    /// The subnets with these ids, in that order; an unknown one is an error.
    pub async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>, Error> {
        let found = self
            .find_subnets(vec![filter("subnet-id", ids.iter().map(SubnetId::as_str))])
            .await?;
        ids.iter()
            .map(|id| {
                found
                    .iter()
                    .find(|subnet| subnet.id == *id)
                    .cloned()
                    .ok_or_else(|| {
                        self.call("DescribeSubnets").on(id).not_found(
                            "InvalidSubnetID.NotFound",
                            format!("the subnet ID '{id}' does not exist"),
                        )
                    })
            })
            .collect()
    }

    async fn find_subnets(&self, filters: Vec<Filter>) -> Result<Vec<Subnet>, Error> {
        let call = self.call("DescribeSubnets");
        let pages = self
            .clients()
            .ec2
            .describe_subnets()
            .set_filters(Some(filters))
            .into_paginator()
            .items()
            .send();
        let mut subnets = pages
            .collect::<Result<Vec<SdkSubnet>, _>>()
            .await
            .map_err(|error| call.failed(&error))?
            .into_iter()
            .map(Subnet::from_sdk)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|nonsense| call.malformed(nonsense))?;
        subnets.sort_by(|a, b| {
            b.free_addresses
                .cmp(&a.free_addresses)
                .then_with(|| a.availability_zone.cmp(&b.availability_zone))
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(subnets)
    }
}

impl Subnet {
    fn from_sdk(subnet: SdkSubnet) -> Result<Self, Nonsense> {
        Ok(Self {
            id: SubnetId::new(required(subnet.subnet_id, "the subnet id")?)?,
            vpc: VpcId::new(required(subnet.vpc_id, "the VPC of a subnet")?)?,
            availability_zone: subnet.availability_zone.unwrap_or_default(),
            free_addresses: count(subnet.available_ip_address_count).unwrap_or(0),
            default_for_zone: subnet.default_for_az.unwrap_or(false),
            public_by_default: subnet.map_public_ip_on_launch.unwrap_or(false),
        })
    }
}
