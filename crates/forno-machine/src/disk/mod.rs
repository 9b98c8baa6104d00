//! Raw disks: one ext4 root behind an MBR, bootable by itself.

mod copy;

pub use copy::{CopyProgress, copy_disk};

use std::path::Path;

use crate::Error;

/// Makes a disk larger; never smaller. The file system follows when a machine
/// starts: a container's from outside before it boots, a virtual machine's by
/// its own growpart.
pub fn grow_disk(path: &Path, bytes: u64) -> Result<(), Error> {
    let _ = (path, bytes);
    todo!()
}

/// Makes the disk of a stub: an empty scratch folder.
pub fn make_stub_disk(path: &Path) -> Result<(), Error> {
    let _ = path;
    todo!()
}
