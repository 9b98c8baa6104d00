//! Who we are to AWS.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::gateway::Gateway;

/// The caller's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Twelve digits.
    pub account: String,
    pub arn: String,
    pub user_id: String,
}

impl Gateway {
    /// The cheapest proof that the credentials are good.
    pub async fn caller_identity(&self) -> Result<Identity, Error> {
        let call = self.call("GetCallerIdentity");
        let reply = self
            .clients()
            .sts
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let account = reply
            .account
            .ok_or_else(|| call.malformed("no account in it"))?;
        Ok(Identity {
            account,
            arn: reply.arn.unwrap_or_default(),
            user_id: reply.user_id.unwrap_or_default(),
        })
    }
}
