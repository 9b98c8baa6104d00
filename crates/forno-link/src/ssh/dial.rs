//! How the bytes of an SSH connection reach the machine: by TCP, by a program that
//! knows a way, or by a session of Systems Manager to a machine that has no open port.

use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpStream as StdTcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxy::{Proxy, ProxyCommand, ProxyStream};
use crate::ErrorKind;
use crate::ssm::channel::{self, ChannelStream, InstancePort};

/// A way to a machine's sshd.
#[derive(Clone, Debug)]
pub enum Dial {
    Tcp(SocketAddr),
    /// A program of its own for every connection.
    Proxy(ProxyCommand),
    /// A session of its own for every connection.
    Session(InstancePort),
}

impl From<SocketAddr> for Dial {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<ProxyCommand> for Dial {
    fn from(command: ProxyCommand) -> Self {
        Self::Proxy(command)
    }
}

impl From<InstancePort> for Dial {
    fn from(port: InstancePort) -> Self {
        Self::Session(port)
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Proxy(command) => write!(f, "{} by {}", command.to(), command.program()),
            Self::Session(port) => port.fmt(f),
        }
    }
}

impl Dial {
    pub(crate) async fn dial(&self, within: Duration) -> Result<(Stream, Hangup), ErrorKind> {
        let dialled = async {
            match self {
                Self::Tcp(address) => tcp(*address, within).await,
                Self::Proxy(command) => {
                    let (stream, proxy) = command.open()?;
                    Ok((Stream::Proxy(stream), Hangup(Line::Proxy(proxy))))
                }
                Self::Session(port) => {
                    let stream = port.open().await?;
                    let hangup = Hangup(Line::Session(stream.hangup()));
                    Ok((Stream::Session(stream), hangup))
                }
            }
        };
        timeout(within, dialled)
            .await
            .unwrap_or(Err(ErrorKind::ConnectTimedOut(within)))
    }
}

async fn tcp(address: SocketAddr, within: Duration) -> Result<(Stream, Hangup), ErrorKind> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
            std::io::ErrorKind::TimedOut => ErrorKind::ConnectTimedOut(within),
            _ => ErrorKind::Unreachable(error),
        })?;
    // Without it every small command waits 40 ms for a delayed acknowledgement.
    stream
        .set_nodelay(true)
        .and_then(|()| stream.into_std())
        .and_then(|socket| {
            let other = socket.try_clone()?;
            let stream = TcpStream::from_std(socket)?;
            Ok((Stream::Tcp(stream), Hangup(Line::Tcp(other))))
        })
        .map_err(ErrorKind::Unreachable)
}

/// Ends a connection when it is dropped: russh's own task holds the stream and
/// would go on with it.
pub(crate) struct Hangup(Line);

enum Line {
    /// The same socket once more.
    Tcp(StdTcpStream),
    Proxy(Proxy),
    Session(channel::Hangup),
}

impl Hangup {
    /// What the way says of its end, if it is one that says something.
    pub(super) fn reason(&self) -> Option<ErrorKind> {
        match &self.0 {
            Line::Tcp(_) => None,
            Line::Proxy(proxy) => proxy.reason(),
            Line::Session(session) => session.end().map(channel::End::kind),
        }
    }

    /// The same, where it was a trouble: not the end that every session comes to, and not
    /// what a program says beside its work (`heard`: it has brought something).
    pub(crate) fn fault(&self, heard: bool) -> Option<ErrorKind> {
        match &self.0 {
            Line::Proxy(_) if heard => None,
            Line::Session(session) if matches!(session.end(), Some(channel::End::Closed)) => None,
            _ => self.reason(),
        }
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        match &self.0 {
            Line::Tcp(socket) => {
                let _ = socket.shutdown(Shutdown::Both);
            }
            // Ends with this.
            Line::Proxy(_) => {}
            Line::Session(session) => session.hang_up(),
        }
    }
}

pub(crate) enum Stream {
    Tcp(TcpStream),
    Proxy(ProxyStream),
    Session(ChannelStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Proxy(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Session(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Proxy(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Session(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Proxy(stream) => Pin::new(stream).poll_flush(cx),
            Self::Session(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Proxy(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Session(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
