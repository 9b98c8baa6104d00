//! From the machine.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::{Error, Link};

pub async fn download_file(
    link: &dyn Link,
    from: &str,
    to: &Path,
    sudo: bool,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let _ = (link, from, to, sudo, progress, cancel);
    todo!()
}
pub async fn download_tree(
    link: &dyn Link,
    from: &str,
    to: &Path,
    sudo: bool,
    progress: Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let _ = (link, from, to, sudo, progress, cancel);
    todo!()
}
