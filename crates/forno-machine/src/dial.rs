//! Connections to a machine's own loopback, which an agent inside it could open
//! and nobody outside can: what listens there need not listen anywhere else.
//!
//! A container has a process of ours in its network namespace for that. It
//! listens on a unix socket in the machine's folder; whoever connects says a
//! port, hears whether it answers, and is connected from then on.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdTcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;
use tokio_util::either::Either;

use crate::net::connect_unix;
use crate::{Error, ErrorKind};

/// The socket in a container's folder, where its process is started: the path
/// of a unix socket must be short.
pub(crate) const SOCKET: &str = "dial.sock";

/// What the process says about a port.
const OPEN: u8 = 0;
const REFUSED: u8 = 1;
const FAILED: u8 = 2;

/// How long a process that was just started may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a port of a machine.
pub type PortStream = Either<UnixStream, TcpStream>;

/// The process in a container's namespace.
pub(crate) fn listen(args: &[PathBuf]) -> ExitCode {
    let [socket] = args else {
        return ExitCode::from(2);
    };
    drop(std::fs::remove_file(socket));
    let Ok(listener) = UnixListener::bind(socket) else {
        return ExitCode::FAILURE;
    };
    if std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).is_err() {
        return ExitCode::FAILURE;
    }
    for stream in listener.incoming().flatten() {
        thread::spawn(move || drop(answer(stream)));
    }
    ExitCode::SUCCESS
}

fn answer(mut asker: StdUnixStream) -> io::Result<()> {
    let mut port = [0; 2];
    asker.read_exact(&mut port)?;
    match StdTcpStream::connect(&loopback(u16::from_be_bytes(port))[..]) {
        Ok(stream) => {
            stream.set_nodelay(true)?;
            asker.write_all(&[OPEN])?;
            crate::relay::join(&stream, &asker)
        }
        Err(error) => {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            asker.write_all(&[if refused { REFUSED } else { FAILED }])
        }
    }
}

/// `localhost` as a guest resolves it.
fn loopback(port: u16) -> [SocketAddr; 2] {
    [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ]
}

/// Connects through a container's process.
pub(crate) async fn through(folder: &Path, port: u16) -> Result<PortStream, Error> {
    let socket = folder.join(SOCKET);
    let broken = |e: io::Error| Error::file("reach", &socket, e);
    let mut stream = reach(&socket).await.map_err(broken)?;
    stream
        .write_all(&port.to_be_bytes())
        .await
        .map_err(broken)?;
    match stream.read_u8().await.map_err(broken)? {
        OPEN => Ok(Either::Left(stream)),
        REFUSED => Err(refused(port)),
        _ => Err(Error::new(
            ErrorKind::Network,
            format!("port {port} of the machine cannot be reached"),
        )),
    }
}

async fn reach(socket: &Path) -> io::Result<UnixStream> {
    let connecting = async {
        loop {
            match connect_unix(socket) {
                Ok(stream) => {
                    stream.set_nonblocking(true)?;
                    return UnixStream::from_std(stream);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))
}

/// Connects to a stub: its SSH server, or a port of this computer.
pub(crate) async fn directly(ssh: SocketAddr, port: u16) -> Result<PortStream, Error> {
    let connected = if port == 22 {
        TcpStream::connect(ssh).await
    } else {
        TcpStream::connect(&loopback(port)[..]).await
    };
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => refused(port),
        _ => Error::new(
            ErrorKind::Network,
            format!("cannot connect to port {port}: {error}"),
        )
        .caused_by(error),
    })?;
    stream
        .set_nodelay(true)
        .map_err(|e| Error::io("cannot set up a connection", e))?;
    Ok(Either::Right(stream))
}

fn refused(port: u16) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("nothing listens on port {port} of the machine"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The process's side and the owner's, without a namespace between them.
    #[tokio::test]
    async fn a_port_is_reached_with_its_ends_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET);
        thread::spawn(move || listen(&[socket]));
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut all = Vec::new();
            // The end of what is said arrives while the way back is open.
            stream.read_to_end(&mut all).await.unwrap();
            all.reverse();
            stream.write_all(&all).await.unwrap();
        });
        let mut stream = through(dir.path(), port).await.unwrap();
        stream.write_all(b"olleh").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
        echo.await.unwrap();
        let error = through(dir.path(), port).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let error = directly(([127, 0, 0, 1], port).into(), 22).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
    }
}
