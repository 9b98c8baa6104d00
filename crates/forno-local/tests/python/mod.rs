//! The Python with the pinned clients.

use std::path::{Path, PathBuf};

/// The interpreter of the tests' own environment.
pub(crate) fn interpreter() -> PathBuf {
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/requirements.txt");
    forno_testing::python(
        Path::new(requirements),
        Path::new(env!("CARGO_TARGET_TMPDIR")),
    )
}
