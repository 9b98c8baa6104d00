//! Raw disks: one ext4 root behind an MBR, bootable by itself.

mod copy;
mod layout;

pub use copy::{CopyProgress, copy_disk, data_extents};
pub use layout::{grow_disk, make_stub_disk};

pub(crate) use layout::{ROOT_START, Root, SECTOR, write_boot_record};
