//! Carries metadata requests from a machine to the socket of its endpoint.
//!
//! A unix socket is reached from any network namespace, so the endpoint needs
//! to know nothing of where its machines live. Plain threads: these processes
//! exist once per container or once per request, and should cost little.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

/// Where every EC2 machine asks for its metadata.
pub(crate) const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Listens on the metadata address of the network namespace that it runs in.
/// A socket for port 80, then a port and its socket for each further service.
pub(crate) fn listen(args: &[PathBuf]) -> ExitCode {
    let [socket, services @ ..] = args else {
        return ExitCode::from(2);
    };
    for service in services.chunks(2) {
        let [port, socket] = service else {
            return ExitCode::from(2);
        };
        let Some(port) = port.to_str().and_then(|port| port.parse().ok()) else {
            return ExitCode::from(2);
        };
        let Ok(listener) = TcpListener::bind((METADATA_ADDRESS, port)) else {
            return ExitCode::FAILURE;
        };
        let socket = socket.clone();
        thread::spawn(move || accept(&listener, &socket));
    }
    let Ok(listener) = TcpListener::bind((METADATA_ADDRESS, 80)) else {
        return ExitCode::FAILURE;
    };
    accept(&listener, socket);
    ExitCode::SUCCESS
}

fn accept(listener: &TcpListener, socket: &Path) {
    for stream in listener.incoming().flatten() {
        let socket = socket.to_owned();
        thread::spawn(move || drop(carry(&stream, &socket)));
    }
}

fn carry(stream: &TcpStream, socket: &Path) -> io::Result<()> {
    stream.set_nodelay(true)?;
    join(stream, &crate::net::connect_unix(socket)?)
}

/// Carries both ways until both have ended, each by itself.
pub(crate) fn join(tcp: &TcpStream, mut unix: &UnixStream) -> io::Result<()> {
    let (mut from_tcp, mut to_unix) = (tcp.try_clone()?, unix.try_clone()?);
    let outward = thread::spawn(move || {
        drop(io::copy(&mut from_tcp, &mut to_unix));
        drop(to_unix.shutdown(Shutdown::Write));
    });
    let carried = io::copy(&mut unix, &mut &*tcp);
    drop(tcp.shutdown(Shutdown::Write));
    drop(outward.join());
    carried.map(drop)
}

/// Carries standard input and output, one connection, as QEMU's user network
/// starts it.
pub(crate) fn pipe(args: &[PathBuf]) -> ExitCode {
    let [socket] = args else {
        return ExitCode::from(2);
    };
    match pipe_through(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn pipe_through(socket: &Path) -> io::Result<()> {
    let mut upstream: UnixStream = crate::net::connect_unix(socket)?;
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut to_endpoint = upstream.try_clone()?;
    // Not joined: QEMU may leave the input open until this process ends.
    thread::spawn(move || {
        drop(io::copy(&mut input, &mut to_endpoint));
        drop(to_endpoint.shutdown(Shutdown::Write));
    });
    let mut buffer = [0; 16 * 1024];
    loop {
        match upstream.read(&mut buffer)? {
            0 => return Ok(()),
            n => output.write_all(&buffer[..n])?,
        }
    }
}
