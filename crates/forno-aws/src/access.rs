//! Where to call, and as whom.
//!
//! Plain values: whoever reads flags and environment decides what goes in here.
//! Whatever is left out, the SDK's usual chain finds (`AWS_REGION`, profiles, SSO,
//! instance roles, …), so that forno behaves like every other AWS tool.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::role::{AskCode, Role};

/// What [`crate::Gateway::connect`] needs to know.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub region: Option<String>,
    pub profile: Option<String>,
    /// For every service; `None` leaves it to `AWS_ENDPOINT_URL` and the profile.
    pub endpoint_url: Option<String>,
    /// Under which address machines reach S3, where that is another than ours: in
    /// URLs that are signed for them.
    pub machine_endpoint_url: Option<String>,
    /// In place of the usual chain.
    pub credentials: Option<StaticCredentials>,
    /// Assumed one after the other, beginning with those credentials.
    pub roles: Vec<Role>,
    /// Asked for the codes that roles want; without one they are refused.
    pub ask_code: Option<Arc<dyn AskCode>>,
    pub limits: Limits,
}

/// A key pair of AWS that does not expire while we use it.
#[derive(Clone, Debug)]
pub struct StaticCredentials {
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub session_token: Option<SecretString>,
}

/// How long and how often the gateway tries.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One attempt, from the first byte sent to the last received.
    pub attempt_timeout: Duration,
    /// All attempts of one call together.
    pub operation_timeout: Duration,
    /// Attempts per call, the first included. Those that certainly did nothing (throttled,
    /// or an endpoint out of reach that was there before) do not count.
    pub attempts: u32,
    /// Calls of the describers that serve several waits at once come no closer
    /// together than this.
    pub poll_spacing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_mins(5),
            attempts: 3,
            poll_spacing: Duration::from_millis(250),
        }
    }
}
