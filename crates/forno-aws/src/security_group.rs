//! Security groups: who may reach a builder.

use aws_sdk_ec2::operation::authorize_security_group_ingress::AuthorizeSecurityGroupIngressError;
use aws_sdk_ec2::operation::authorize_security_group_ingress::builders::AuthorizeSecurityGroupIngressFluentBuilder;
use aws_sdk_ec2::operation::create_security_group::CreateSecurityGroupError;
use aws_sdk_ec2::operation::create_security_group::builders::CreateSecurityGroupFluentBuilder;
use aws_sdk_ec2::operation::delete_security_group::DeleteSecurityGroupError;
use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup as SdkSecurityGroup,
};

use crate::cidr::Cidr;
use crate::convert::{Nonsense, optional_id, required};
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::ids::{SecurityGroupId, VpcId};
use crate::tag::{Filters, TagMatch, Tags, filter, literal, sdk_filters, tag_filters};

/// A security group as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    pub name: String,
    pub description: String,
    pub vpc: Option<VpcId>,
    pub tags: Tags,
}

/// A security group to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecurityGroup {
    /// Unique in its VPC; must not begin with `sg-`.
    pub name: String,
    /// EC2 wants one.
    pub description: String,
    pub vpc: VpcId,
    pub tags: Tags,
}

/// One TCP port, open to one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressRule {
    pub port: u16,
    pub from: Cidr,
    pub description: Option<String>,
}

impl Gateway {
    pub async fn create_security_group(
        &self,
        group: &NewSecurityGroup,
    ) -> Result<SecurityGroupId, Error> {
        let call = self.call("CreateSecurityGroup").on(&group.name);
        let reply = self
            .create_security_group_request(group)
            .customize()
            .interceptor(call.watch::<CreateSecurityGroupError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let id = reply
            .group_id
            .ok_or_else(|| call.malformed("no group id in it"))?;
        SecurityGroupId::new(id).map_err(|error| call.malformed(error))
    }

    pub(crate) fn create_security_group_request(
        &self,
        group: &NewSecurityGroup,
    ) -> CreateSecurityGroupFluentBuilder {
        self.clients()
            .ec2
            .create_security_group()
            .group_name(&group.name)
            .description(&group.description)
            .vpc_id(group.vpc.as_str())
            .set_tag_specifications(group.tags.specifications(&[ResourceType::SecurityGroup]))
    }

    /// Opens a port. Success also when it was open already: that is what repeating
    /// the call after a lost reply comes to.
    pub async fn allow_ingress(
        &self,
        group: &SecurityGroupId,
        rule: &IngressRule,
    ) -> Result<(), Error> {
        let call = self.call("AuthorizeSecurityGroupIngress").on(group);
        let reply = self
            .allow_ingress_request(group, rule)
            .customize()
            .interceptor(call.watch::<AuthorizeSecurityGroupIngressError>())
            .send()
            .await;
        match reply.map_err(|error| call.failed(&error)) {
            Err(error) if error.kind() != Kind::Duplicate => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn allow_ingress_request(
        &self,
        group: &SecurityGroupId,
        rule: &IngressRule,
    ) -> AuthorizeSecurityGroupIngressFluentBuilder {
        let port = i32::from(rule.port);
        let permission = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(port)
            .to_port(port);
        let range = rule.from.to_string();
        let permission = if rule.from.is_ipv6() {
            permission.ipv6_ranges(
                Ipv6Range::builder()
                    .cidr_ipv6(range)
                    .set_description(rule.description.clone())
                    .build(),
            )
        } else {
            permission.ip_ranges(
                IpRange::builder()
                    .cidr_ip(range)
                    .set_description(rule.description.clone())
                    .build(),
            )
        };
        self.clients()
            .ec2
            .authorize_security_group_ingress()
            .group_id(group.as_str())
            .ip_permissions(permission.build())
    }

    /// The groups of exactly this name: at most one per VPC.
    pub async fn security_groups_named(&self, name: &str) -> Result<Vec<SecurityGroup>, Error> {
        self.find_security_groups(vec![filter("group-name", [literal(name)])])
            .await
    }

    /// Those whose name is like this pattern, with `*` and `?` as EC2 understands them.
    pub async fn security_groups_like(&self, pattern: &str) -> Result<Vec<SecurityGroup>, Error> {
        self.find_security_groups(vec![filter("group-name", [pattern])])
            .await
    }

    /// Those of a VPC that match, by EC2's filter names; the values of one are
    /// alternatives.
    pub async fn security_groups_matching(
        &self,
        vpc: &VpcId,
        filters: &Filters,
    ) -> Result<Vec<SecurityGroup>, Error> {
        let mut filters = sdk_filters(filters);
        filters.push(filter("vpc-id", [vpc.as_str()]));
        self.find_security_groups(filters).await
    }

    pub async fn security_groups_tagged(
        &self,
        conditions: &[TagMatch],
    ) -> Result<Vec<SecurityGroup>, Error> {
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        self.find_security_groups(tag_filters(conditions)).await
    }

    /// The groups with these ids; an unknown one is an error.
    pub async fn security_groups(
        &self,
        ids: &[SecurityGroupId],
    ) -> Result<Vec<SecurityGroup>, Error> {
        let found = self
            .find_security_groups(vec![filter(
                "group-id",
                ids.iter().map(SecurityGroupId::as_str),
            )])
            .await?;
        match ids
            .iter()
            .find(|id| found.iter().all(|group| group.id != **id))
        {
            Some(missing) => Err(self
                .call("DescribeSecurityGroups")
                .on(missing)
                .not_found("InvalidGroup.NotFound", "there is no such security group")),
            None => Ok(found),
        }
    }

    async fn find_security_groups(
        &self,
        filters: Vec<aws_sdk_ec2::types::Filter>,
    ) -> Result<Vec<SecurityGroup>, Error> {
        let call = self.call("DescribeSecurityGroups");
        let pages = self
            .clients()
            .ec2
            .describe_security_groups()
            .set_filters(Some(filters))
            .into_paginator()
            .items()
            .send();
        pages
            .collect::<Result<Vec<SdkSecurityGroup>, _>>()
            .await
            .map_err(|error| call.failed(&error))?
            .into_iter()
            .map(SecurityGroup::from_sdk)
            .collect::<Result<_, _>>()
            .map_err(|nonsense| call.malformed(nonsense))
    }

    /// [`Kind::DependencyViolation`] until the network interface of the terminated
    /// builder is gone; try again then.
    pub async fn delete_security_group(&self, id: &SecurityGroupId) -> Result<(), Error> {
        let call = self.call("DeleteSecurityGroup").on(id);
        self.clients()
            .ec2
            .delete_security_group()
            .group_id(id.as_str())
            .customize()
            .interceptor(call.watch::<DeleteSecurityGroupError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }
}

impl SecurityGroup {
    fn from_sdk(group: SdkSecurityGroup) -> Result<Self, Nonsense> {
        Ok(Self {
            id: SecurityGroupId::new(required(group.group_id, "the id of a security group")?)?,
            name: group.group_name.unwrap_or_default(),
            description: group.description.unwrap_or_default(),
            vpc: optional_id(group.vpc_id)?,
            tags: Tags::from_sdk(group.tags),
        })
    }
}
