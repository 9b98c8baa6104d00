//! Where the builder can stand, and which machines can be had there.

use std::collections::BTreeSet;
use std::fmt;

use forno_aws::{Gateway, SecurityGroupId, Subnet, SubnetId, VpcId};
use forno_recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// A place with a kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) instance_type: String,
    pub(crate) subnet: SubnetId,
    pub(crate) zone: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.instance_type, self.zone)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) vpc: VpcId,
    pub(crate) subnets: Vec<Subnet>,
    /// Existing ones; empty: the bake makes its own.
    pub(crate) groups: Vec<SecurityGroupId>,
}

pub(super) async fn ground(gateway: &Gateway, recipe: &Recipe) -> Result<Ground, Error> {
    let subnets = if recipe.builder.subnet_ids.is_empty() {
        default_subnets(gateway).await?
    } else {
        let ids = recipe
            .builder
            .subnet_ids
            .iter()
            .map(|id| SubnetId::new(id.as_str()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())))?;
        gateway.subnets(&ids).await.map_err(ErrorKind::Planning)?
    };
    let vpc = common_vpc(&subnets)?;
    let groups = recipe
        .builder
        .security_group_ids
        .iter()
        .map(|id| SecurityGroupId::new(id.as_str()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())))?;
    if !groups.is_empty() {
        let found = gateway
            .security_groups(&groups)
            .await
            .map_err(ErrorKind::Planning)?;
        if let Some(foreign) = found.iter().find(|group| group.vpc.as_ref() != Some(&vpc)) {
            return Err(Error::new(ErrorKind::Preflight(format!(
                "the security group {} does not lie in {vpc}, where the builder will stand",
                foreign.id
            ))));
        }
    }
    Ok(Ground {
        vpc,
        subnets,
        groups,
    })
}

fn common_vpc(subnets: &[Subnet]) -> Result<VpcId, Error> {
    let mut vpcs = subnets.iter().map(|subnet| &subnet.vpc);
    match vpcs.next() {
        Some(first) if vpcs.all(|vpc| vpc == first) => Ok(first.clone()),
        _ => Err(Error::new(ErrorKind::Preflight(
            "builder.subnet_ids lie in more than one VPC, and a security group lies in one".into(),
        ))),
    }
}

async fn default_subnets(gateway: &Gateway) -> Result<Vec<Subnet>, Error> {
    let none = |what: &str| {
        Error::new(ErrorKind::Preflight(format!(
            "{} has {what}",
            gateway.region()
        )))
        .with_hint("name subnets in builder.subnet_ids")
    };
    let vpc = gateway
        .default_vpc()
        .await
        .map_err(ErrorKind::Planning)?
        .ok_or_else(|| none("no default VPC"))?;
    let all = gateway
        .subnets_of(&vpc)
        .await
        .map_err(ErrorKind::Planning)?;
    let (mut default, other): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|subnet| subnet.default_for_zone);
    if default.is_empty() {
        default = other;
    }
    if default.is_empty() {
        return Err(none("no subnet in its default VPC"));
    }
    Ok(default)
}

/// Every type with every subnet whose zone offers it, in the recipe's order of
/// types and then of subnets.
pub(super) async fn places(
    gateway: &Gateway,
    recipe: &Recipe,
    types: &[String],
    subnets: &[Subnet],
) -> Result<Vec<Place>, Error> {
    let names: Vec<&str> = types.iter().map(String::as_str).collect();
    let facts = gateway
        .instance_types(&names)
        .await
        .map_err(ErrorKind::Planning)?;
    for kind in &facts {
        let fits = kind
            .architectures
            .iter()
            .any(|architecture| architecture.as_str() == recipe.architecture.as_str());
        if !fits {
            return Err(Error::new(ErrorKind::Preflight(format!(
                "the instance type {} cannot run {} images",
                kind.name,
                recipe.architecture.as_str()
            ))));
        }
    }
    let offered = gateway
        .offerings(&names)
        .await
        .map_err(ErrorKind::Planning)?;
    let mut places = Vec::new();
    for name in types {
        for subnet in subnets {
            let here = offered
                .get(name)
                .is_some_and(|zones| zones.contains(&subnet.availability_zone));
            if here {
                places.push(Place {
                    instance_type: name.clone(),
                    subnet: subnet.id.clone(),
                    zone: subnet.availability_zone.clone(),
                });
            }
        }
    }
    if places.is_empty() {
        let zones: BTreeSet<&str> = subnets
            .iter()
            .map(|subnet| subnet.availability_zone.as_str())
            .collect();
        return Err(Error::new(ErrorKind::Preflight(format!(
            "none of {} is offered in {}",
            types.join(", "),
            zones.into_iter().collect::<Vec<_>>().join(", ")
        )))
        .with_hint("name other types in builder.instance_types, or other subnets"));
    }
    Ok(places)
}
