//! What a channel is to its holder: a stream of bytes.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::end::End;

/// One connection to a port of an instance.
///
/// End of file is the machine's own end of the connection; everything else is an
/// error with its reason. Both directions must be served: while what arrived is
/// not read, the acknowledgements of what was written are not seen either.
/// Dropping it delivers what was written and ends the session.
#[derive(Debug)]
pub struct ChannelStream {
    /// Before the stream, so that its end is understood.
    pub(super) _dropped: DropGuard,
    pub(super) io: DuplexStream,
    pub(super) end: Arc<OnceLock<End>>,
    pub(super) hangup: CancellationToken,
}

/// Ends a channel from elsewhere, and knows why it ended.
#[derive(Clone, Debug)]
pub struct Hangup {
    hangup: CancellationToken,
    end: Arc<OnceLock<End>>,
}

impl Hangup {
    /// Now, whoever holds the stream.
    pub fn hang_up(&self) {
        self.hangup.cancel();
    }

    pub fn end(&self) -> Option<&End> {
        self.end.get()
    }
}

impl ChannelStream {
    pub fn hangup(&self) -> Hangup {
        Hangup {
            hangup: self.hangup.clone(),
            end: Arc::clone(&self.end),
        }
    }

    /// Without a reason the runtime that carried it is gone.
    fn ending(&self) -> End {
        let gone = || End::Failed("nobody carries the channel any more".into());
        self.end.get().cloned().unwrap_or_else(gone)
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let wanted = buffer.remaining();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        let nothing = buffer.filled().len() == before && wanted > 0;
        match read {
            Poll::Ready(Ok(())) if nothing => Poll::Ready(match self.ending() {
                End::Closed => Ok(()),
                end => Err(end.io_error()),
            }),
            other => other,
        }
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        written.map(|result| result.map_err(|_| self.ending().io_error()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// The machine is not told: a session knows no half of a connection. What it
    /// answers is read until it is silent for some seconds; then the session ends.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
