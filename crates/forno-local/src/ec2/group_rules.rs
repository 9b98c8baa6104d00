//! Ingress rules: the two forms in which they are asked for, and their checks.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::world::{ACCOUNT, Peer, RegionState, Rule, RuleMatch};

/// Rules asked for, with their descriptions; not yet known to be new.
pub(super) fn read(
    params: &Level<'_>,
    state: &RegionState,
) -> Result<Vec<(RuleMatch, Option<String>)>, ApiError> {
    let mut rules = Vec::new();
    let permissions = params.members("IpPermissions");
    if permissions.is_empty() {
        rules.push((flat(params)?, None));
    }
    for permission in &permissions {
        let protocol = protocol(permission.require("IpProtocol")?)?;
        let ports = ports(permission, &protocol)?;
        let before = rules.len();
        for (list, field) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")] {
            for range in permission.members(list) {
                let cidr = range.require(field)?;
                let peer = if field == "CidrIp" {
                    v4(cidr)?
                } else {
                    v6(cidr)?
                };
                rules.push((
                    RuleMatch {
                        protocol: protocol.clone(),
                        ports,
                        peer,
                    },
                    describe(&range)?,
                ));
            }
        }
        for group in permission.members("Groups") {
            if group.get("UserId").is_some_and(|user| user != ACCOUNT) {
                return Err(ApiError::unsupported("groups of other accounts in rules"));
            }
            let peer = referenced(&group, state)?;
            rules.push((
                RuleMatch {
                    protocol: protocol.clone(),
                    ports,
                    peer,
                },
                describe(&group)?,
            ));
        }
        if !permission.members("PrefixListIds").is_empty() {
            return Err(ApiError::unsupported("prefix lists in rules"));
        }
        if rules.len() == before {
            return Err(ApiError::missing(&format!(
                "{}.IpRanges",
                permission.path()
            )));
        }
    }
    Ok(rules)
}

/// The old form: one rule in parameters of the call itself.
fn flat(params: &Level<'_>) -> Result<RuleMatch, ApiError> {
    if params.get("SourceSecurityGroupName").is_some()
        || params.get("SourceSecurityGroupOwnerId").is_some()
    {
        return Err(ApiError::unsupported(
            "SourceSecurityGroupName; use IpPermissions",
        ));
    }
    let protocol = protocol(params.require("IpProtocol")?)?;
    let ports = ports(params, &protocol)?;
    Ok(RuleMatch {
        peer: v4(params.require("CidrIp")?)?,
        protocol,
        ports,
    })
}

fn protocol(name: &str) -> Result<String, ApiError> {
    let known = match name {
        "tcp" | "6" => "tcp",
        "udp" | "17" => "udp",
        "icmp" | "1" => "icmp",
        "icmpv6" | "58" => "icmpv6",
        "-1" | "all" => "-1",
        other if other.parse::<u8>().is_ok() => other,
        other => {
            return Err(ApiError::invalid(format!(
                "Invalid value '{other}' for IP protocol. Unknown protocol."
            )));
        }
    };
    Ok(known.to_owned())
}

fn ports(params: &Level<'_>, protocol: &str) -> Result<Option<(i32, i32)>, ApiError> {
    let (from, to) = (params.number("FromPort")?, params.number("ToPort")?);
    let (lowest, highest) = match protocol {
        "tcp" | "udp" => (0, 65535),
        "icmp" | "icmpv6" => (-1, 255),
        // Every other protocol has no ports; EC2 drops what is said.
        _ => return Ok(None),
    };
    let (Some(from), Some(to)) = (from, to) else {
        return Err(ApiError::new(
            "MissingParameter",
            format!("Invalid value '{protocol}' for protocol: it needs both FromPort and ToPort"),
        ));
    };
    for port in [from, to] {
        if !(lowest..=highest).contains(&port) {
            return Err(ApiError::invalid(format!(
                "Invalid value '{port}' for port. Must be between {lowest} and {highest}"
            )));
        }
    }
    if from > to && matches!(protocol, "tcp" | "udp") {
        return Err(ApiError::invalid(format!(
            "Invalid TCP/UDP port range ({from}:{to})"
        )));
    }
    let narrow = |port: i64| i32::try_from(port).unwrap_or(-1);
    Ok(Some((narrow(from), narrow(to))))
}

fn malformed(cidr: &str) -> ApiError {
    ApiError::invalid(format!("CIDR block {cidr} is malformed"))
}

/// Host bits are dropped, as EC2 does.
fn v4(cidr: &str) -> Result<Peer, ApiError> {
    let (address, bits) = cidr.split_once('/').ok_or_else(|| malformed(cidr))?;
    let address: Ipv4Addr = address.parse().map_err(|_| malformed(cidr))?;
    let bits: u32 = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= 32)
        .ok_or_else(|| malformed(cidr))?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Ok(Peer::V4(format!(
        "{}/{bits}",
        Ipv4Addr::from(u32::from(address) & mask)
    )))
}

fn v6(cidr: &str) -> Result<Peer, ApiError> {
    let (address, bits) = cidr.split_once('/').ok_or_else(|| malformed(cidr))?;
    let address: Ipv6Addr = address.parse().map_err(|_| malformed(cidr))?;
    let bits: u32 = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= 128)
        .ok_or_else(|| malformed(cidr))?;
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Ok(Peer::V6(format!(
        "{}/{bits}",
        Ipv6Addr::from(u128::from(address) & mask)
    )))
}

fn referenced(params: &Level<'_>, state: &RegionState) -> Result<Peer, ApiError> {
    let group = match (params.get("GroupId"), params.get("GroupName")) {
        (Some(id), _) => {
            Resource::SecurityGroup.check(id)?;
            state
                .groups
                .get(id)
                .ok_or_else(|| Resource::SecurityGroup.not_found(id))?
        }
        (None, Some(name)) => state
            .group_named(name)
            .ok_or_else(|| Resource::SecurityGroup.not_found(name))?,
        (None, None) => return Err(ApiError::missing(&format!("{}.GroupId", params.path()))),
    };
    Ok(Peer::Group(group.id.clone()))
}

fn describe(params: &Level<'_>) -> Result<Option<String>, ApiError> {
    let Some(text) = params.given("Description") else {
        return Ok(None);
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.len() > 255 || !text.chars().all(allowed) {
        return Err(ApiError::invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: \
             a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// A rule in the words of InvalidPermission.Duplicate.
pub(super) fn in_words(rule: &RuleMatch) -> String {
    let peer = match &rule.peer {
        Peer::V4(cidr) | Peer::V6(cidr) => cidr,
        Peer::Group(id) => id,
    };
    match (rule.protocol.as_str(), rule.ports) {
        ("-1", _) => format!("peer: {peer}, ALL, ALLOW"),
        (protocol @ ("icmp" | "icmpv6"), Some((from, to))) => {
            format!(
                "peer: {peer}, {}, type: {from}, code: {to}, ALLOW",
                protocol.to_uppercase()
            )
        }
        (protocol, Some((from, to))) => {
            format!(
                "peer: {peer}, {}, from port: {from}, to port: {to}, ALLOW",
                protocol.to_uppercase()
            )
        }
        (protocol, None) => format!("peer: {peer}, protocol {protocol}, ALLOW"),
    }
}

/// An `ipPermissions` list: rules of the same protocol and ports together.
pub(super) fn write_permissions(xml: &mut Xml, name: &str, rules: &[Rule]) {
    let mut permissions: Vec<(&str, Option<(i32, i32)>)> = Vec::new();
    for rule in rules {
        let key = (rule.match_.protocol.as_str(), rule.match_.ports);
        if !permissions.contains(&key) {
            permissions.push(key);
        }
    }
    xml.list(name, permissions, |xml, (protocol, ports)| {
        let of_this = || {
            rules
                .iter()
                .filter(|rule| rule.match_.protocol == protocol && rule.match_.ports == ports)
        };
        xml.text("ipProtocol", protocol)
            .maybe("fromPort", ports.map(|ports| ports.0))
            .maybe("toPort", ports.map(|ports| ports.1));
        let groups = of_this().filter(|rule| matches!(rule.match_.peer, Peer::Group(_)));
        xml.list("groups", groups, |xml, rule| {
            if let Peer::Group(id) = &rule.match_.peer {
                xml.maybe("description", rule.description.as_ref())
                    .text("userId", ACCOUNT)
                    .text("groupId", id);
            }
        });
        let v4 = of_this().filter(|rule| matches!(rule.match_.peer, Peer::V4(_)));
        xml.list("ipRanges", v4, |xml, rule| {
            if let Peer::V4(cidr) = &rule.match_.peer {
                xml.maybe("description", rule.description.as_ref())
                    .text("cidrIp", cidr);
            }
        });
        let v6 = of_this().filter(|rule| matches!(rule.match_.peer, Peer::V6(_)));
        xml.list("ipv6Ranges", v6, |xml, rule| {
            if let Peer::V6(cidr) = &rule.match_.peer {
                xml.maybe("description", rule.description.as_ref())
                    .text("cidrIpv6", cidr);
            }
        });
        xml.group("prefixListIds", |_| {});
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::params::Form;

    fn rules(form: &str) -> Result<Vec<(RuleMatch, Option<String>)>, ApiError> {
        let form = Form::decode("", form.as_bytes()).unwrap();
        let result = read(&form.root(), &RegionState::default());
        if result.is_ok() {
            assert_eq!(form.unread(), None);
        }
        result
    }

    #[test]
    fn both_forms_give_the_same_rule() {
        let nested = rules(
            "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp=10.1.2.3/8",
        )
        .unwrap();
        let flat = rules("IpProtocol=6&FromPort=22&ToPort=22&CidrIp=10.0.0.0/8").unwrap();
        assert_eq!(nested, flat);
        assert_eq!(
            in_words(&flat[0].0),
            "peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for (form, code) in [
            ("", "MissingParameter"),
            ("IpProtocol=tcp&CidrIp=1.2.3.4/32", "MissingParameter"),
            (
                "IpProtocol=xyz&FromPort=1&ToPort=1&CidrIp=1.2.3.4/32",
                "InvalidParameterValue",
            ),
            (
                "IpProtocol=tcp&FromPort=9&ToPort=1&CidrIp=1.2.3.4/32",
                "InvalidParameterValue",
            ),
            (
                "IpProtocol=tcp&FromPort=1&ToPort=70000&CidrIp=1.2.3.4/32",
                "InvalidParameterValue",
            ),
            (
                "IpProtocol=tcp&FromPort=1&ToPort=1&CidrIp=1.2.3.4/33",
                "InvalidParameterValue",
            ),
            (
                "IpProtocol=tcp&FromPort=1&ToPort=1&CidrIp=1.2.3/24",
                "InvalidParameterValue",
            ),
            (
                "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=1&IpPermissions.1.ToPort=1",
                "MissingParameter",
            ),
            (
                "IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId=sg-0123456789abcdef0",
                "InvalidGroup.NotFound",
            ),
        ] {
            assert_eq!(rules(form).unwrap_err().code(), code, "{form}");
        }
    }
}
