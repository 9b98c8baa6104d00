//! A port: somebody listens, or nobody.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forno_link::{Command, Link, capture};

use super::facts::Comparison;
use crate::{Mismatch, PortAssertion, Protocol, StepContext, StepError};

/// The kernel's own tables; no tool needs to be installed for them.
const LOOK: &str = r#"cat "/proc/net/$1" "/proc/net/${1}6" 2>/dev/null; true"#;

pub(super) async fn evaluate(
    link: &dyn Link,
    wanted: &PortAssertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    let protocol = match wanted.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let command = Command::script(LOOK, [protocol]).sudo(true);
    let output = capture(link, command, &ctx.cancel).await?;
    let found: Vec<IpAddr> = listening(&output.stdout, wanted.protocol)
        .filter(|(_, port)| *port == wanted.port)
        .map(|(address, _)| address)
        .collect();
    let heard = match &wanted.address {
        None => !found.is_empty(),
        Some(address) => {
            let address: IpAddr = address.parse().map_err(|_| {
                StepError::guest(format!(
                    "port {}: `{address}` is not an IP address",
                    wanted.port
                ))
            })?;
            found
                .iter()
                .any(|one| *one == address || one.is_unspecified())
        }
    };
    let mut comparison = Comparison::default();
    if heard != wanted.listening {
        let what = format!("{protocol} port {}", wanted.port);
        let expected = match (wanted.listening, &wanted.address) {
            (false, _) => "nobody listening".to_owned(),
            (true, None) => "somebody listening".to_owned(),
            (true, Some(address)) => format!("somebody listening on {address}"),
        };
        comparison.differs(what, expected, words(&found));
    }
    Ok(comparison.0)
}

fn words(found: &[IpAddr]) -> String {
    let mut text = String::new();
    for address in found {
        let separator = if text.is_empty() {
            "listening on "
        } else {
            ", "
        };
        let _ = write!(text, "{separator}{address}");
    }
    if text.is_empty() {
        "nobody listening".into()
    } else {
        text
    }
}

/// Of `/proc/net/{tcp,tcp6,udp,udp6}`: local addresses of sockets that listen.
fn listening(table: &str, protocol: Protocol) -> impl Iterator<Item = (IpAddr, u16)> {
    let state = match protocol {
        Protocol::Tcp => "0A",
        // A datagram socket that is bound and not connected.
        Protocol::Udp => "07",
    };
    table.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let _remote = fields.next()?;
        if fields.next()? != state {
            return None;
        }
        Some((address_of(address)?, u16::from_str_radix(port, 16).ok()?))
    })
}

/// Words of 32 bits in the machine's byte order, which is little-endian
/// wherever forno bakes.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok();
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?.swap_bytes()))),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?.to_le_bytes());
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000
   1: 0100007F:1F90 0100007F:A1B2 01 00000000:00000000
   2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
";
        let found: Vec<_> = listening(table, Protocol::Tcp).collect();
        assert_eq!(
            found,
            [
                (IpAddr::V4(Ipv4Addr::LOCALHOST), 22),
                (IpAddr::V6(Ipv6Addr::LOCALHOST), 80)
            ]
        );
    }
}
