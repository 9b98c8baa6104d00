//! Which port of a machine's public address answers SSH.

use std::io::{self, ErrorKind as IoKind};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use crate::{Error, ErrorKind};

/// Port 22 where this process may have it, else a free high one. The port is
/// bound again a moment later, often by another process; loopback addresses
/// belong to one machine each, so nobody races for it.
pub(crate) fn choose_ssh_port(address: Ipv4Addr) -> Result<SocketAddr, Error> {
    if !address.is_loopback() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the public address {address} is not a loopback address"),
        ));
    }
    let chosen = match try_port(address, 22) {
        // Another SSH server may hold port 22 of every address.
        Err(e) if matches!(e.kind(), IoKind::PermissionDenied | IoKind::AddrInUse) => {
            try_port(address, 0)
        }
        other => other,
    };
    chosen
        .and_then(|socket| socket.local_addr())
        .map_err(|e| refused(address, e))
}

/// Bound, but never listening: a process that is forked at this moment holds
/// a copy of the socket until its exec, and a listening copy would keep the
/// port from the one who is to have it.
fn try_port(address: Ipv4Addr, port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((address, port).into())?;
    Ok(socket)
}

fn refused(address: Ipv4Addr, source: io::Error) -> Error {
    Error::new(
        ErrorKind::Network,
        format!("cannot listen on {address}: {source}"),
    )
    .caused_by(source)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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
    fn a_copy_of_the_socket_in_a_forked_process_is_in_nobodys_way() {
        let address = Ipv4Addr::new(127, 77, 1, 2);
        let copy = try_port(address, 0).unwrap();
        TcpListener::bind(copy.local_addr().unwrap()).unwrap();
    }

    #[test]
    fn only_loopback_is_accepted() {
        let error = choose_ssh_port(Ipv4Addr::UNSPECIFIED).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
