//! Where the builder can stand, and which machines can be had there.

use std::collections::BTreeSet;
use std::fmt;

use forno_aws::{Gateway, SecurityGroupId, Subnet, SubnetId, VpcId};
use forno_recipe::{Filters, Market, Recipe};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// A place with a kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) instance_type: String,
    pub(crate) subnet: SubnetId,
    pub(crate) zone: String,
    /// Plans of before there was a choice have none.
    #[serde(default)]
    pub(crate) market: Market,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.instance_type, self.zone)?;
        match self.market {
            Market::OnDemand => Ok(()),
            Market::Spot => f.write_str(" (spot)"),
        }
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
    let subnets = subnets(gateway, recipe).await?;
    let vpc = common_vpc(&subnets)?;
    let groups = groups(gateway, recipe, &vpc).await?;
    Ok(Ground {
        vpc,
        subnets,
        groups,
    })
}

async fn subnets(gateway: &Gateway, recipe: &Recipe) -> Result<Vec<Subnet>, Error> {
    let builder = &recipe.builder;
    if !builder.subnet_ids.is_empty() {
        let ids = ids(&builder.subnet_ids, SubnetId::new)?;
        return gateway
            .subnets(&ids)
            .await
            .map_err(|error| Error::new(ErrorKind::Planning(error)));
    }
    let vpc = vpc(gateway, recipe).await?;
    if vpc.is_none() && builder.subnet_filters.is_empty() {
        return default_subnets(gateway).await;
    }
    let found = gateway
        .subnets_like(vpc.as_ref(), &builder.subnet_filters)
        .await
        .map_err(ErrorKind::Planning)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let of = vpc.map_or_else(String::new, |vpc| format!(" of {vpc}"));
    let region = gateway.region();
    Err(if builder.subnet_filters.is_empty() {
        Error::new(ErrorKind::Preflight(format!(
            "there is no subnet{of} in {region}"
        )))
        .with_hint("name subnets in builder.subnet_ids, or another VPC")
    } else {
        unlike(format!(
            "no subnet{of} in {region} matches builder.subnet_filters ({})",
            shown(&builder.subnet_filters)
        ))
    })
}

/// The VPC that the recipe asks for, if it asks for one.
async fn vpc(gateway: &Gateway, recipe: &Recipe) -> Result<Option<VpcId>, Error> {
    let builder = &recipe.builder;
    if let Some(id) = &builder.vpc_id {
        return ids(std::slice::from_ref(id), VpcId::new).map(|mut ids| ids.pop());
    }
    if builder.vpc_filters.is_empty() {
        return Ok(None);
    }
    let mut found = gateway
        .vpcs_like(&builder.vpc_filters)
        .await
        .map_err(ErrorKind::Planning)?;
    match found.len() {
        1 => Ok(found.pop()),
        number => Err(unlike(format!(
            "{number} VPCs in {} match builder.vpc_filters ({}), and it must be one",
            gateway.region(),
            shown(&builder.vpc_filters)
        ))),
    }
}

async fn groups(
    gateway: &Gateway,
    recipe: &Recipe,
    vpc: &VpcId,
) -> Result<Vec<SecurityGroupId>, Error> {
    let builder = &recipe.builder;
    if !builder.security_group_filters.is_empty() {
        let found = gateway
            .security_groups_matching(vpc, &builder.security_group_filters)
            .await
            .map_err(ErrorKind::Planning)?;
        if found.is_empty() {
            return Err(unlike(format!(
                "no security group of {vpc} matches builder.security_group_filters ({})",
                shown(&builder.security_group_filters)
            )));
        }
        return Ok(found.into_iter().map(|group| group.id).collect());
    }
    let groups = ids(&builder.security_group_ids, SecurityGroupId::new)?;
    if !groups.is_empty() {
        let found = gateway
            .security_groups(&groups)
            .await
            .map_err(ErrorKind::Planning)?;
        if let Some(foreign) = found.iter().find(|group| group.vpc.as_ref() != Some(vpc)) {
            return Err(Error::new(ErrorKind::Preflight(format!(
                "the security group {} does not lie in {vpc}, where the builder will stand",
                foreign.id
            ))));
        }
    }
    Ok(groups)
}

fn ids<T, E: fmt::Display>(
    texts: &[String],
    parse: impl Fn(String) -> Result<T, E>,
) -> Result<Vec<T>, Error> {
    texts
        .iter()
        .map(|text| parse(text.clone()))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())))
}

/// A search that found too little, or too much.
fn unlike(said: String) -> Error {
    Error::new(ErrorKind::Preflight(said))
        .with_hint("all of the filters must match, in this region and account")
}

/// As a person would say it.
fn shown(filters: &Filters) -> String {
    filters
        .iter()
        .map(|(name, values)| format!("{name}: {}", values.join(" or ")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn common_vpc(subnets: &[Subnet]) -> Result<VpcId, Error> {
    let mut vpcs = subnets.iter().map(|subnet| &subnet.vpc);
    match vpcs.next() {
        Some(first) if vpcs.all(|vpc| vpc == first) => Ok(first.clone()),
        _ => Err(Error::new(ErrorKind::Preflight(
            "the subnets of `[builder]` lie in more than one VPC, and a security group lies in one"
                .into(),
        ))
        .with_hint("name the VPC in builder.vpc_id")),
    }
}

async fn default_subnets(gateway: &Gateway) -> Result<Vec<Subnet>, Error> {
    let none = |what: &str| {
        Error::new(ErrorKind::Preflight(format!(
            "{} has {what}",
            gateway.region()
        )))
        .with_hint("name subnets in builder.subnet_ids, or a VPC in builder.vpc_id")
    };
    let vpc = gateway
        .default_vpc()
        .await
        .map_err(ErrorKind::Planning)?
        .ok_or_else(|| none("no default VPC"))?;
    let all = gateway
        .subnets_like(Some(&vpc), &Filters::new())
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
/// markets, then of types, then of subnets.
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
    let is_offered = |name: &String, subnet: &Subnet| {
        offered
            .get(name)
            .is_some_and(|zones| zones.contains(&subnet.availability_zone))
    };
    let mut places = Vec::new();
    for market in &recipe.builder.market {
        for name in types {
            let here = subnets.iter().filter(|subnet| is_offered(name, subnet));
            places.extend(here.map(|subnet| Place {
                instance_type: name.clone(),
                subnet: subnet.id.clone(),
                zone: subnet.availability_zone.clone(),
                market: *market,
            }));
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
