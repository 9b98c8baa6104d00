//! Between the link, which is asynchronous, and `tar` and files, which are not:
//! bounded channels of chunks, with the blocking half on its own thread.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{CHUNK, Progress};
use crate::link::{Sink, Stream};

/// Chunks under way at once.
const DEPTH: usize = 4;

/// What a helper command says on standard error: its last lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn add(&self, chunk: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(chunk);
        let surplus = kept.len().saturating_sub(4096);
        kept.drain(..surplus);
    }

    pub(super) fn last(&self) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept)
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .map(str::to_owned)
    }
}

/// A sink that keeps only standard error.
pub(super) struct Listen(pub(super) Said);

#[async_trait]
impl Sink for Listen {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> io::Result<()> {
        if stream == Stream::Stderr {
            self.0.add(&chunk);
        }
        Ok(())
    }
}

/// Collects what is written into chunks and sends them on.
pub(super) struct ChunkWriter {
    buffer: BytesMut,
    chunks: mpsc::Sender<io::Result<Bytes>>,
    progress: Progress,
    done: u64,
    total: u64,
}

/// A writer, and the standard input that it feeds.
pub(super) fn writer(
    progress: Progress,
    total: u64,
) -> (ChunkWriter, mpsc::Receiver<io::Result<Bytes>>) {
    let (chunks, receiver) = mpsc::channel(DEPTH);
    let writer = ChunkWriter {
        buffer: BytesMut::with_capacity(CHUNK),
        chunks,
        progress,
        done: 0,
        total,
    };
    (writer, receiver)
}

impl ChunkWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        let length = chunk.len() as u64;
        self.chunks
            .blocking_send(Ok(chunk))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.done += length;
        self.progress
            .tell(self.done.min(self.total), Some(self.total));
        Ok(())
    }

    /// The end of the stream: whole, or with the error that the other side must
    /// not take for an end.
    pub(super) fn finish(mut self, result: io::Result<()>) {
        let sent = result.and_then(|()| self.send());
        if let Err(error) = sent {
            let _ = self.chunks.blocking_send(Err(error));
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&data[..taken]);
        if self.buffer.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink whose standard output another thread reads.
pub(super) struct ChunkSink {
    chunks: mpsc::Sender<Bytes>,
    said: Said,
}

/// Reads what a [`ChunkSink`] is given.
pub(super) struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
    progress: Progress,
    done: u64,
}

pub(super) fn reader(said: Said, progress: Progress) -> (ChunkSink, ChunkReader) {
    let (sender, chunks) = mpsc::channel(DEPTH);
    let reader = ChunkReader {
        chunks,
        current: Bytes::new(),
        progress,
        done: 0,
    };
    (
        ChunkSink {
            chunks: sender,
            said,
        },
        reader,
    )
}

#[async_trait]
impl Sink for ChunkSink {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> io::Result<()> {
        if stream == Stream::Stderr {
            self.said.add(&chunk);
            return Ok(());
        }
        self.chunks
            .send(chunk)
            .await
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => {
                    self.done += chunk.len() as u64;
                    self.progress.tell(self.done, None);
                    self.current = chunk;
                }
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
