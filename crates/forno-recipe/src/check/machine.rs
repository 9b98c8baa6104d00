//! `builder.machine` and how machines are bought: what EC2 would refuse of it, told before
//! anything is asked for.

use super::Checks;
use super::network::check_id;
use crate::diagnostic::Problem;
use crate::model::{MachineOptions, Market, Tenancy};

/// The families whose machines earn and spend CPU credits.
const BURSTABLE: [&str; 4] = ["t2", "t3", "t3a", "t4g"];

pub(super) fn check(checks: &mut Checks<'_>, options: &MachineOptions, types: &[String]) {
    let root = checks.root;
    let place = |key: &str| root.place(&["builder", "machine", key]);
    if options.cpu_credits.is_some()
        && let Some(other) = types.iter().find(|name| {
            let family = name.split('.').next().unwrap_or_default();
            !BURSTABLE.contains(&family)
        })
    {
        checks.bad_at(
            place("cpu_credits"),
            format!("{other} has no CPU credits"),
            "only t2, t3, t3a and t4g have",
        );
    }
    let on_host = options.tenancy == Some(Tenancy::Host);
    if let Some(id) = &options.host_id {
        check_id(checks, &place("host_id"), "host_id", "h-", id);
    }
    for (key, given) in [
        ("host_id", options.host_id.is_some()),
        (
            "host_resource_group_arn",
            options.host_resource_group_arn.is_some(),
        ),
    ] {
        if given && !on_host {
            checks.bad_at(
                place(key),
                format!("`{key}` is of no use here"),
                "only with `tenancy = \"host\"`",
            );
        }
    }
    if options.host_id.is_some() && options.host_resource_group_arn.is_some() {
        checks.bad(
            Problem::new("a host is found in one way, here are two")
                .at(place("host_resource_group_arn"))
                .label("a second one")
                .related(place("host_id"), "the first one"),
        );
    }
    if let Some(arn) = &options.host_resource_group_arn {
        check_arn(checks, "host_resource_group_arn", "resource-groups", arn);
    }
    if let Some(reservation) = &options.capacity_reservation {
        match reservation.as_str() {
            "open" | "none" => {}
            arn if arn.starts_with("arn:") => {
                check_arn(checks, "capacity_reservation", "resource-groups", arn);
            }
            id if id.starts_with("cr-") => {
                let span = place("capacity_reservation");
                check_id(checks, &span, "capacity_reservation", "cr-", id);
            }
            other => checks.bad_at(
                place("capacity_reservation"),
                format!("`{other}` is no capacity reservation"),
                "expected `open`, `none`, `cr-…` or the ARN of a resource group",
            ),
        }
    }
    let Some(nodes) = root
        .get("builder")
        .and_then(|node| node.get("machine"))
        .and_then(|node| node.get("license_configuration_arns"))
    else {
        return;
    };
    for (arn, node) in options.license_configuration_arns.iter().zip(nodes.items()) {
        if !is_arn(arn, "license-manager") {
            checks.bad_at(
                node.span.clone(),
                format!("`{arn}` is no license configuration"),
                "expected `arn:aws:license-manager:…`",
            );
        }
    }
}

fn check_arn(checks: &mut Checks<'_>, key: &str, service: &str, arn: &str) {
    if !is_arn(arn, service) {
        checks.bad_at(
            checks.root.place(&["builder", "machine", key]),
            format!("`{arn}` is not the ARN that is wanted here"),
            format!("expected `arn:aws:{service}:…`"),
        );
    }
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`
fn is_arn(text: &str, service: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts[..], ["arn", partition, of, _, _, resource]
        if partition.starts_with("aws") && of == service && !resource.is_empty())
}

/// In which order machines are bought how.
pub(super) fn market(
    checks: &mut Checks<'_>,
    market: Vec<Market>,
    most: Option<&str>,
) -> Vec<Market> {
    let root = checks.root;
    let place = |key: &str| root.place(&["builder", key]);
    if let [first, second, ..] = market[..]
        && (first == second || market.len() > 2)
    {
        checks.bad_at(
            place("market"),
            "a market is named twice",
            "name `spot` and `on-demand` once each at most",
        );
    }
    if let Some(price) = most {
        let fine = price.len() <= 16
            && price.chars().all(|c| c.is_ascii_digit() || c == '.')
            && price.parse::<f64>().is_ok_and(|price| price > 0.0);
        if !fine {
            checks.bad_at(
                place("spot_max_price"),
                format!("`{price}` is no price"),
                "USD per hour, such as `\"0.05\"`",
            );
        }
        if !market.contains(&Market::Spot) {
            checks.bad_at(
                place("spot_max_price"),
                "no Spot Instance is asked for",
                "only with `spot` in `market`",
            );
        }
    }
    if market.is_empty() {
        vec![Market::default()]
    } else {
        market
    }
}
