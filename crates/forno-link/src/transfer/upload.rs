//! To the machine.

use std::path::Path;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{FileTarget, Progress, TreeTarget};
use crate::{Error, Link};

pub async fn upload_file(
    link: &dyn Link,
    from: &Path,
    to: &FileTarget,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let _ = (link, from, to, progress, cancel);
    todo!()
}
pub async fn upload_bytes(
    link: &dyn Link,
    content: Bytes,
    to: &FileTarget,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let _ = (link, content, to, cancel);
    todo!()
}
pub async fn upload_tree(
    link: &dyn Link,
    from: &Path,
    to: &TreeTarget,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let _ = (link, from, to, progress, cancel);
    todo!()
}
