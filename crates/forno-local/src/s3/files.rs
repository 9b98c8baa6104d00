//! The files in which contents lie, and the one way in which buckets change:
//! first on disk what is in an object, then the world, then away with what is no
//! longer named.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};
use tokio_util::io::ReaderStream;

use super::error::internal;
use crate::api::error::ApiError;
use crate::service::Service;
use crate::state::buckets::{Buckets, Piece};

/// What is read or written at once.
const BUFFER: usize = 256 * 1024;

/// A file while it is written; gone again unless it is kept.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    name: String,
    file: BufWriter<fs_err::tokio::File>,
    size: u64,
    kept: bool,
}

impl NewFile {
    pub(super) async fn create(folder: &Path) -> Result<Self, ApiError> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = folder.join(&name);
        let mut options = fs_err::tokio::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path).await;
        let file = file.map_err(|error| internal("The object could not be written", error))?;
        Ok(Self {
            path,
            name,
            file: BufWriter::with_capacity(BUFFER, file),
            size: 0,
            kept: false,
        })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += u64::try_from(bytes.len()).unwrap_or(0);
        self.file.write_all(bytes).await
    }

    /// Returns once it is safe.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await
    }

    /// Stays from now on.
    pub(super) fn keep(mut self) -> Piece {
        self.kept = true;
        Piece {
            file: std::mem::take(&mut self.name),
            size: self.size,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Changes the buckets and writes them down. The pieces that a change returns
/// are in no object any more.
pub(super) async fn change<T: Send + 'static>(
    service: &Arc<Service>,
    change: impl FnOnce(&mut Buckets) -> Result<(T, Vec<Piece>), ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let service = Arc::clone(service);
    let work = tokio::task::spawn_blocking(move || {
        let (result, gone) = service.store.change(|world| change(&mut world.buckets))?;
        service
            .store
            .save()
            .map_err(|error| internal("The state could not be written", error))?;
        let folder = service.fleet.folder.objects();
        for piece in gone {
            if let Err(error) = fs_err::remove_file(folder.join(piece.file)) {
                tracing::warn!(%error, "an object's file lingers");
            }
        }
        Ok(result)
    });
    work.await
        .map_err(|error| internal("The change broke off", error))?
}

/// A part of an object as the body of a reply.
pub(super) fn body(folder: PathBuf, pieces: Vec<Piece>, from: u64, length: u64) -> Body {
    let (mut into, out) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        let (mut skip, mut left) = (from, length);
        for piece in pieces {
            if skip >= piece.size {
                skip -= piece.size;
                continue;
            }
            let here = (piece.size - skip).min(left);
            if here == 0 {
                break;
            }
            let copied = async {
                let mut file = fs_err::tokio::File::open(folder.join(&piece.file)).await?;
                file.seek(io::SeekFrom::Start(skip)).await?;
                let mut reader = tokio::io::BufReader::with_capacity(BUFFER, file.take(here));
                tokio::io::copy_buf(&mut reader, &mut into).await
            };
            match copied.await {
                Ok(count) if count == here => {}
                // The body ends too early, which the client sees.
                Ok(_) => return tracing::error!(file = piece.file, "an object is cut short"),
                Err(error) => return tracing::debug!(%error, "an object was not sent whole"),
            }
            left -= here;
            skip = 0;
        }
    });
    Body::from_stream(ReaderStream::with_capacity(out, BUFFER))
}
