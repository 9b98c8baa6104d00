//! Who listens where, from the kernel's own tables: no tool is needed for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forno_link::{Command, Link, capture};

use super::Findings;
use crate::step::{PortAssertion, Protocol};
use crate::{StepContext, StepError};

pub(super) async fn look(
    link: &dyn Link,
    expected: &PortAssertion,
    findings: &mut Findings,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let name = match expected.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let script =
        "cat \"/proc/net/$1\"; if [ -e \"/proc/net/${1}6\" ]; then cat \"/proc/net/${1}6\"; fi";
    let output = capture(link, Command::script(script, [name]), &ctx.cancel).await?;
    if !output.exit.success() {
        let reason = output.reason();
        return Err(StepError::guest(format!(
            "cannot list the open ports: {reason}"
        )));
    }
    let at: Vec<IpAddr> = output
        .stdout
        .lines()
        .filter_map(|line| read(line, expected.protocol))
        .filter(|(_, port)| *port == expected.port)
        .map(|(address, _)| address)
        .collect();
    let what = format!("port {}/{name}", expected.port);
    let addresses: Vec<String> = at.iter().map(ToString::to_string).collect();
    let found = if at.is_empty() {
        "nobody listening".to_owned()
    } else {
        format!("a listener at {}", addresses.join(", "))
    };
    let fits = match &expected.address {
        None => !at.is_empty(),
        Some(address) => {
            let Ok(wanted) = address.parse::<IpAddr>() else {
                return Err(StepError::new(crate::StepErrorKind::Invalid(format!(
                    "`{address}` is not an IP address"
                ))));
            };
            at.iter().any(|one| *one == wanted || one.is_unspecified())
        }
    };
    if fits != expected.listening {
        let place = expected
            .address
            .as_ref()
            .map(|a| format!(" at {a}"))
            .unwrap_or_default();
        let wanted = if expected.listening {
            "a listener"
        } else {
            "nobody listening"
        };
        findings.add(what, format!("{wanted}{place}"), found);
    }
    Ok(())
}

/// `sl local_address rem_address st …`, addresses in hexadecimal, each 32 bits
/// in the machine's own order (little endian on all of EC2).
fn read(line: &str, protocol: Protocol) -> Option<(IpAddr, u16)> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let listening = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    if state != listening {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in address.as_bytes().chunks(8) {
        let word = std::str::from_utf8(word).ok()?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_le_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(
            read(v4, Protocol::Tcp),
            Some(("127.0.0.1".parse().unwrap(), 8080))
        );
        let v6 = "   1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(read(v6, Protocol::Tcp), Some(("::1".parse().unwrap(), 22)));
        let talking = v4.replace(" 0A ", " 01 ");
        assert_eq!(read(&talking, Protocol::Tcp), None);
        assert_eq!(
            read("  sl  local_address rem_address   st", Protocol::Tcp),
            None
        );
    }
}
