//! Addresses, ports and sockets of machines.

mod ports;
mod slirp;
mod unix;
mod vpc;

pub(crate) use ports::choose_ssh_port;
pub(crate) use unix::connect_unix;
pub(crate) use vpc::{Lease, RESOLVER, Vpc, text};
