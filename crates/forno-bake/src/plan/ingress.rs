//! From where the builder may be reached: this machine, and nobody else
//! unless somebody says so.

use std::net::IpAddr;
use std::time::Duration;

use forno_aws::{Cidr, Gateway};
use forno_recipe::Connect;

use crate::{Error, ErrorKind, Ingress};

/// AWS's own answer to "where do I come from".
const DEFAULT_ADDRESS_URL: &str = "https://checkip.amazonaws.com";

const LIMIT: Duration = Duration::from_secs(10);

/// Nobody, where machines are not reached at their address. What the recipe has said
/// comes first.
pub(crate) async fn sources(
    gateway: &Gateway,
    ingress: &Ingress,
    said: &[String],
    connect: Connect,
) -> Result<Vec<Cidr>, Error> {
    if connect.needs_agent() {
        return Ok(Vec::new());
    }
    if !said.is_empty() {
        return said
            .iter()
            .map(|range| range.parse::<Cidr>())
            .collect::<Result<_, _>>()
            .map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())));
    }
    let url = match ingress {
        Ingress::From(ranges) if ranges.is_empty() => {
            return Err(Error::new(ErrorKind::Preflight(
                "no address may reach the builder: the list of ingress ranges is empty".into(),
            )));
        }
        Ingress::From(ranges) => return Ok(ranges.clone()),
        Ingress::Auto => match gateway.endpoint_url().and_then(loopback_of) {
            Some(address) => return Ok(vec![Cidr::host(address)]),
            None => DEFAULT_ADDRESS_URL,
        },
        Ingress::AskUrl(url) => url,
    };
    let address = tokio::time::timeout(LIMIT, crate::http::get_text(url))
        .await
        .map_err(|_| "no answer in time".to_owned())
        .and_then(|answer| answer)
        .and_then(|text| {
            text.trim()
                .parse::<IpAddr>()
                .map_err(|_| format!("`{}` is not an address", text.trim()))
        })
        .map_err(|reason| {
            Error::new(ErrorKind::Preflight(format!(
                "cannot find out this machine's own address from {url}: {reason}"
            )))
            .with_hint(
                "name a security group that lets this machine in under builder.security_group_ids",
            )
        })?;
    Ok(vec![Cidr::host(address)])
}

/// Whether this endpoint is on this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    loopback_of(url).is_some()
}

/// The address of this machine as an endpoint on it sees it.
fn loopback_of(url: &str) -> Option<IpAddr> {
    let authority = url.split("://").nth(1)?.split('/').next()?;
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, port)| {
            if port.chars().all(|c| c.is_ascii_digit()) {
                host
            } else {
                authority
            }
        })
        .trim_matches(['[', ']']);
    if host == "localhost" {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    let address: IpAddr = host.parse().ok()?;
    // Machines of an endpoint on 127.0.0.2 are still reached from 127.0.0.1.
    address.is_loopback().then(|| match address {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_on_this_machine_is_reached_from_this_machine() {
        for url in [
            "http://127.0.0.1:4566",
            "http://127.0.0.2:1/x",
            "http://localhost",
            "http://localhost:80/",
        ] {
            assert_eq!(
                loopback_of(url),
                Some(IpAddr::from([127, 0, 0, 1])),
                "{url}"
            );
        }
        assert!(loopback_of("http://[::1]:8080").is_some());
        for url in [
            "https://ec2.eu-west-1.amazonaws.com",
            "http://10.0.0.1:80",
            "http://localhost.example.com",
        ] {
            assert_eq!(loopback_of(url), None, "{url}");
        }
    }
}
