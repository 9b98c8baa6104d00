//! One call of Systems Manager: its input, and what its operation may use.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::faults::Marks;
use crate::service::Service;
use crate::state::regions::Region;

/// What an operation gets. It runs where it may block, inside the runtime.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a Arc<Service>,
    pub(crate) region: Region,
    /// What a plan of faults does to its work.
    pub(crate) marks: Marks,
    pub(crate) body: &'a [u8],
}

/// What an operation has come to.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: Value,
    /// Whether the world on disk changed.
    pub(crate) changed: bool,
}

impl Call<'_> {
    /// The input, in the operation's own form; members that it does not have
    /// are refused.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(self.body)
            .map_err(|error| ApiError::new("ValidationException", error.to_string()))
    }
}

impl Reply {
    /// Of an operation that changed nothing on disk.
    pub(super) fn of(body: Value) -> Self {
        Self {
            body,
            changed: false,
        }
    }
}
