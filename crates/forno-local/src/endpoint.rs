//! The running endpoint.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Config, Credentials, Error, Mode, Progress};

/// A pocket EC2 that runs in this process until [`PocketEc2::shutdown`].
#[derive(Debug)]
pub struct PocketEc2 {
    info: EndpointInfo,
    credentials: Credentials,
}

/// What `endpoint.json` in the state folder says while an endpoint runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Base URL for every service.
    pub url: String,
    /// The region with the Debian image.
    pub region: String,
    /// The process.
    pub pid: u32,
    /// Whether others may use it.
    pub mode: Mode,
}

/// The endpoint that runs on a state folder now, if any. Reads files only.
pub fn running_endpoint(_state_dir: &Path) -> Result<Option<(EndpointInfo, Credentials)>, Error> {
    todo!()
}

impl PocketEc2 {
    /// Takes the state folder's lock, makes the source image where it is
    /// missing, and answers requests from then on.
    pub async fn start(
        _config: Config,
        _progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, Error> {
        todo!()
    }

    /// `http://127.0.0.1:port`
    pub fn endpoint_url(&self) -> &str {
        &self.info.url
    }

    /// What clients sign with.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The region with the Debian image.
    pub fn region(&self) -> &str {
        &self.info.region
    }

    /// The whole of `endpoint.json`.
    pub fn info(&self) -> &EndpointInfo {
        &self.info
    }

    /// Ends every machine, writes the state, gives the folder back.
    #[expect(clippy::unused_async, reason = "signature first")]
    pub async fn shutdown(self) -> Result<(), Error> {
        todo!()
    }
}
