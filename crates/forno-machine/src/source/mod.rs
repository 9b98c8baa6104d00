//! Debian 12's cloud disk, made from Debian's packages on this computer.
//!
//! The disk is what Debian's own image for EC2 is, as far as a bake can tell:
//! the same release, kernel, cloud-init with its EC2 datasource, default user
//! and services. It is made once per content and kept in a cache.

mod apt;
mod build;
mod cache;
mod certificates;
mod image;
mod sandbox;

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::Error;

pub(crate) use build::missing_packages;

/// Where packages come from when not from this computer's own apt sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The archive (`http://…/debian`).
    pub archive: String,
    /// The security archive; none: the archive's sibling `…-security`.
    pub security: Option<String>,
}

/// How to make the disk.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Where made disks are kept, one folder per content.
    pub cache_dir: PathBuf,
    /// A mirror in place of this computer's own apt sources.
    pub mirror: Option<Mirror>,
    /// Certificates (PEM) that the image is to trust besides Debian's own.
    pub ca_bundle: Option<PathBuf>,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Asking apt what would be installed.
    Resolving,
    /// Another process makes a disk; waiting for it.
    WaitingForOther,
    /// Packages are fetched and installed; how many are done of how many.
    Packages { done: usize, total: usize },
    /// Settings are laid down.
    Configuring,
    /// The tree becomes a bootable disk.
    Packing,
    /// The disk was there already.
    Cached,
    /// The disk is made.
    Done,
}

/// A made disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDisk {
    /// The raw disk. To be copied, never written.
    pub path: PathBuf,
    /// The day it was made, `YYYYMMDD`.
    pub date: String,
    /// A number within that day, four digits.
    pub serial: String,
    /// SHA-256 over the package list, in hexadecimal.
    pub packages_digest: String,
    /// How many packages it holds.
    pub packages: usize,
    /// The size that the disk shows.
    pub size_bytes: u64,
}

impl SourceDisk {
    /// The name as Debian names its images: `debian-12-amd64-YYYYMMDD-NNNN`.
    pub fn name(&self) -> String {
        format!("debian-12-amd64-{}-{}", self.date, self.serial)
    }
}

/// Makes the disk, or finds it in the cache. Making needs root. The callback is
/// called from the calling task.
///
/// The cache is keyed by everything that this computer decides (the form of the
/// image, package names, apt sources, certificates), not by the versions that
/// the archive holds at the moment: finding a disk needs no network. A machine
/// brings itself up to date as on EC2; whoever wants a fresh disk removes the
/// folder `source` of the cache.
pub async fn make_debian_disk(
    config: &SourceConfig,
    progress: &(dyn Fn(Progress) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<SourceDisk, Error> {
    let sources = apt::choose(config.mirror.as_ref())?;
    let certificates = match &config.ca_bundle {
        Some(path) => certificates::read(path)?,
        None => Vec::new(),
    };
    let plan = image::Plan {
        sources,
        certificates,
    };
    let cache = cache::Cache::new(&config.cache_dir);
    let key = plan.key();
    if let Some(disk) = cache.find(&key) {
        progress(Progress::Cached);
        return Ok(disk);
    }
    build::check_tools()?;
    let lock = cache.lock(progress, cancel).await?;
    if let Some(disk) = cache.find(&key) {
        progress(Progress::Cached);
        return Ok(disk);
    }
    let workshop = lock.workshop()?;
    build::build(&plan, &workshop, progress, cancel).await?;
    let disk = cache.adopt(&key, workshop)?;
    progress(Progress::Done);
    Ok(disk)
}
