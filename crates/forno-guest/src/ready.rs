//! Waiting for a machine that has just booted.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct ReadyOptions {
    pub within: Duration,
    pub cloud_init: CloudInit,
    /// Wait until nobody holds the package manager's locks.
    pub package_lock: bool,
}

impl Default for ReadyOptions {
    fn default() -> Self {
        Self {
            within: Duration::from_mins(10),
            cloud_init: CloudInit::Require,
            package_lock: true,
        }
    }
}

/// What an error of cloud-init means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudInit {
    /// The machine is not ready; its recoverable errors are warnings.
    Require,
    /// Any error is a warning.
    Tolerate,
    /// Not waited for.
    Skip,
}

#[derive(Clone, Debug)]
pub struct ReadyReport {
    /// `done`, `disabled`, `not installed`, …
    pub cloud_init: String,
    pub waited: Duration,
    pub warnings: Vec<String>,
}
