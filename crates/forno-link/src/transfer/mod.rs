//! Files and folders, to the machine and back.
//!
//! A folder travels as one tar stream into the machine's own `tar`, because
//! every other way pays round trips per file. A file travels into a temporary
//! one beside its place and is moved there when its checksum is right.

mod download;
mod target;
mod tree;
mod upload;

pub use download::{download_file, download_tree};
pub use target::{FileTarget, Progress, TreeTarget};
pub use upload::{upload_bytes, upload_file, upload_tree};

/// What russh turns into packets with the least work.
pub(crate) const CHUNK: usize = 256 * 1024;

/// A copy on which nothing moves for this long is dead.
pub(crate) const IDLE: std::time::Duration = std::time::Duration::from_mins(2);
