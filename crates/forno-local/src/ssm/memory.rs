//! What Systems Manager remembers for as long as the endpoint runs.

/// Nothing of it is on disk: machines end with their endpoint.
#[derive(Debug, Default)]
pub(crate) struct Memory {}
