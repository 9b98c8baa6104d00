//! Connections that a handler can tear down: a reply that is lost is lost below
//! HTTP, so the client must see its connection reset and not an error page.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};

/// The handler's end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    cut: Arc<AtomicBool>,
}

impl Line {
    /// Whatever is written from now on resets the connection instead.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

/// A listener whose connections can be cut.
#[derive(Debug)]
pub(crate) struct Lines<L>(pub(crate) L);

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    line: Line,
}

impl<S> Wire<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            line: Line::default(),
        }
    }
}

impl Listener for Lines<TcpListener> {
    type Io = Wire<<TcpListener as Listener>::Io>;
    type Addr = <TcpListener as Listener>::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // A reply is one small write; waiting for more of it only costs time.
        let _ = stream.set_nodelay(true);
        (Wire::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Listener for Lines<UnixListener> {
    type Io = Wire<<UnixListener as Listener>::Io>;
    type Addr = <UnixListener as Listener>::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Wire::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines<TcpListener>>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines<TcpListener>>) -> Self {
        stream.io().line.clone()
    }
}

impl Connected<IncomingStream<'_, Lines<UnixListener>>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines<UnixListener>>) -> Self {
        stream.io().line.clone()
    }
}

impl<S: AsFd> Wire<S> {
    /// Without lingering, the end of the socket is a reset and not a farewell.
    fn reset(&self) -> Poll<io::Result<usize>> {
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.line.is_cut() {
            return self.reset();
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.line.is_cut() {
            return self.reset();
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.is_cut() {
            return self.reset().map_ok(|_| ());
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
