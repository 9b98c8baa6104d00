//! The partition table of a machine's disk, and its size.
//!
//! There is one form: a boot record, GRUB's core in the gap behind it, and one
//! Linux partition from the first mebibyte to the end. Reading and writing one
//! entry of a table does not need a program.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Error, ErrorKind};

pub(crate) const SECTOR: u64 = 512;
/// Where the root partition starts, in bytes.
pub(crate) const ROOT_START: u64 = 2048 * SECTOR;

const TABLE: u64 = 446;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
const BOOTABLE: u8 = 0x80;
const LINUX: u8 = 0x83;
/// What stands for cylinders and heads since disks outgrew them.
const NO_GEOMETRY: [u8; 3] = [0xfe, 0xff, 0xff];

/// The root partition of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub start: u64,
    pub size: u64,
    /// The size of the file system in it.
    pub filesystem: u64,
}

impl Root {
    /// Finds the root of a disk; the first partition, which must hold ext4.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let disk = File::open(path).map_err(|e| Error::file("open", path, e))?;
        let mut record = [0; 512];
        disk.read_exact_at(&mut record, 0)
            .map_err(|e| Error::file("read the boot record of", path, e))?;
        let entry = &record[446..462];
        if record[510..] != SIGNATURE || entry[4] != LINUX {
            return Err(bad_disk(path, "no partition table with a Linux partition"));
        }
        let start = u64::from(le32(&entry[8..12])) * SECTOR;
        let size = u64::from(le32(&entry[12..16])) * SECTOR;
        let mut superblock = [0; 1024];
        disk.read_exact_at(&mut superblock, start + 1024)
            .map_err(|e| Error::file("read the file system of", path, e))?;
        if superblock[56..58] != [0x53, 0xef] {
            return Err(bad_disk(path, "no ext4 file system in its first partition"));
        }
        let blocks =
            u64::from(le32(&superblock[4..8])) | (u64::from(le32(&superblock[0x150..0x154])) << 32);
        let block_size = 1024_u64 << le32(&superblock[24..28]).min(6);
        Ok(Self {
            start,
            size,
            filesystem: blocks.saturating_mul(block_size),
        })
    }

    /// Lets the root partition reach the end of the disk. Returns the root as
    /// it is then.
    pub(crate) fn stretch(path: &Path) -> Result<Self, Error> {
        let root = Self::of(path)?;
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Error::file("open", path, e))?;
        let length = disk
            .metadata()
            .map_err(|e| Error::file("look at", path, e))?
            .len();
        let size = length.saturating_sub(root.start) / SECTOR * SECTOR;
        if size <= root.size {
            return Ok(root);
        }
        write_root_entry(&disk, root.start, size).map_err(|e| Error::file("write", path, e))?;
        Ok(Self { size, ..root })
    }
}

/// Writes a partition table with the root partition alone.
pub(crate) fn write_boot_record(disk: &File, length: u64) -> std::io::Result<()> {
    disk.write_all_at(&[0; 64], TABLE)?;
    write_root_entry(disk, ROOT_START, length - ROOT_START)?;
    disk.write_all_at(&SIGNATURE, 510)
}

fn write_root_entry(disk: &File, start: u64, size: u64) -> std::io::Result<()> {
    let too_large = || std::io::Error::other("a disk with a boot record ends at 2 TiB");
    let first = u32::try_from(start / SECTOR).map_err(|_| too_large())?;
    let sectors = u32::try_from(size / SECTOR).map_err(|_| too_large())?;
    let mut entry = [0; 16];
    entry[0] = BOOTABLE;
    entry[1..4].copy_from_slice(&NO_GEOMETRY);
    entry[4] = LINUX;
    entry[5..8].copy_from_slice(&NO_GEOMETRY);
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    disk.write_all_at(&entry, TABLE)
}

fn le32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| (value << 8) | u32::from(byte))
}

fn bad_disk(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Disk,
        format!("{} is not a machine's disk: {why}", path.display()),
    )
}

/// Makes a disk larger; never smaller. The file system follows when a machine
/// starts: a container's from outside before it boots, a virtual machine's by
/// its own growpart.
pub fn grow_disk(path: &Path, bytes: u64) -> Result<(), Error> {
    let disk = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|e| Error::file("open", path, e))?;
    let length = disk
        .metadata()
        .map_err(|e| Error::file("look at", path, e))?
        .len();
    if bytes < length {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "{} has {length} bytes and cannot shrink to {bytes}",
                path.display()
            ),
        ));
    }
    disk.set_len(bytes)
        .map_err(|e| Error::file("resize", path, e))
}

/// Makes the disk of a stub: an empty scratch folder.
pub fn make_stub_disk(path: &Path) -> Result<(), Error> {
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .finish()
        .and_then(|()| archive.into_inner())
        .and_then(|bytes| fs_err::write(path, bytes))
        .map_err(|e| Error::file("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_of(bytes: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(bytes).unwrap();
        write_boot_record(&file, bytes).unwrap();
        // Just as much of an ext4 superblock as is looked at: 4096-byte blocks.
        let at = ROOT_START + 1024;
        file.write_all_at(&1000_u32.to_le_bytes(), at + 4).unwrap();
        file.write_all_at(&2_u32.to_le_bytes(), at + 24).unwrap();
        file.write_all_at(&[0x53, 0xef], at + 56).unwrap();
        (dir, path)
    }

    #[test]
    fn a_grown_disk_is_stretched_once() {
        let (_dir, path) = disk_of(64 << 20);
        let before = Root::of(&path).unwrap();
        assert_eq!(before.size, (64 << 20) - ROOT_START);
        assert_eq!(before.filesystem, 4_096_000);
        grow_disk(&path, 128 << 20).unwrap();
        assert_eq!(Root::of(&path).unwrap(), before);
        let after = Root::stretch(&path).unwrap();
        assert_eq!(after.size, (128 << 20) - ROOT_START);
        assert_eq!(Root::stretch(&path).unwrap(), after);
    }

    #[test]
    fn disks_never_shrink() {
        let (_dir, path) = disk_of(64 << 20);
        let error = grow_disk(&path, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_foreign_file_is_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs_err::write(&path, vec![0; 4096]).unwrap();
        assert_eq!(Root::of(&path).unwrap_err().kind(), ErrorKind::Disk);
    }
}
