//! Which port of a machine's public address answers SSH.

use std::io::ErrorKind as IoKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::{Error, ErrorKind};

/// Port 22 where this process may have it, else a free high one. The port is
/// bound by another process a moment later; loopback addresses belong to one
/// machine each, so nobody races for it.
pub(crate) fn choose_ssh_port(address: Ipv4Addr) -> Result<SocketAddr, Error> {
    if !address.is_loopback() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the public address {address} is not a loopback address"),
        ));
    }
    match TcpListener::bind((address, 22)) {
        Ok(_) => return Ok((address, 22).into()),
        // Another SSH server may hold port 22 of every address.
        Err(e) if matches!(e.kind(), IoKind::PermissionDenied | IoKind::AddrInUse) => {}
        Err(e) => return Err(refused(address, e)),
    }
    TcpListener::bind((address, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|e| refused(address, e))
}

fn refused(address: Ipv4Addr, source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Network,
        format!("cannot listen on {address}: {source}"),
    )
    .caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_leads_to_another() {
        let address = Ipv4Addr::new(127, 77, 1, 1);
        let first = choose_ssh_port(address).unwrap();
        let _held = TcpListener::bind(first).unwrap();
        let second = choose_ssh_port(address).unwrap();
        assert_ne!(first, second);
        assert!(second.port() > 1023);
    }

    #[test]
    fn only_loopback_is_accepted() {
        let error = choose_ssh_port(Ipv4Addr::UNSPECIFIED).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
