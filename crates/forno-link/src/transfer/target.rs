//! Where something goes on the machine, and whose it is there.

use std::fmt;
use std::sync::Arc;

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// Absolute, or relative to the login user's home.
    pub path: String,
    /// Default: as the local file; 0644 for bytes.
    pub mode: Option<u32>,
    pub owner: Option<String>,
    pub group: Option<String>,
    /// Needed for places and owners that the login user may not write.
    pub sudo: bool,
    /// Make the folders on the way to it.
    pub parents: bool,
    /// The content is no secret: see [`crate::Command::public_stdin`].
    pub public: bool,
}

impl FileTarget {
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            mode: None,
            owner: None,
            group: None,
            sudo: false,
            parents: true,
            public: false,
        }
    }
}

/// A folder to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeTarget {
    /// Absolute, or relative to the login user's home.
    pub path: String,
    /// Mode of every file, instead of its own.
    pub file_mode: Option<u32>,
    /// Mode of every folder, instead of its own.
    pub folder_mode: Option<u32>,
    pub owner: Option<String>,
    pub group: Option<String>,
    pub sudo: bool,
    /// The content is no secret: see [`crate::Command::public_stdin`].
    pub public: bool,
    /// Name of files that list, as `.gitignore` does, what to leave out;
    /// `.fornoignore` by default.
    pub ignore_file: Option<String>,
}

impl TreeTarget {
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            file_mode: None,
            folder_mode: None,
            owner: None,
            group: None,
            sudo: false,
            public: false,
            ignore_file: Some(".fornoignore".into()),
        }
    }
}

/// Is told how much has moved: bytes done, bytes in all where known.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u64, Option<u64>) + Send + Sync>);

impl Progress {
    pub fn new(tell: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub fn none() -> Self {
        Self::new(|_, _| {})
    }

    pub(crate) fn tell(&self, done: u64, total: Option<u64>) {
        (self.0)(done, total);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
