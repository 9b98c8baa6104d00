//! The one place that every action of every service passes through, between
//! the check of its signature and its reply. What a plan of faults would do to
//! a call (refuse it, delay it, lose the reply after the work) belongs here.

use std::sync::Arc;

use crate::api::error::ApiError;
use crate::credentials::Credentials;
use crate::fleet::{Fleet, Order};
use crate::state::store::Store;

/// What the services share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) credentials: Credentials,
    pub(crate) store: Arc<Store>,
    pub(crate) fleet: Arc<Fleet>,
}

/// The result of an action before anybody hears of it.
#[derive(Debug, Default)]
pub(super) struct Performed {
    pub(super) body: Vec<u8>,
    /// Whether the world changed and must be safe before the reply.
    pub(super) changed: bool,
    pub(super) orders: Vec<Order>,
}

impl Service {
    /// Carries out an action: its work, then its change to disk, then its
    /// orders to the machines. Only then is there a reply.
    pub(super) async fn perform<W>(self: &Arc<Self>, work: W) -> Result<Vec<u8>, ApiError>
    where
        W: FnOnce(&Self) -> Result<Performed, ApiError> + Send + 'static,
    {
        let service = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let performed = work(&service)?;
            let saved = if performed.changed {
                service.store.save()
            } else {
                Ok(())
            };
            Ok((performed, saved))
        });
        let (performed, saved) = done
            .await
            .map_err(|error| ApiError::internal(format!("The action broke off: {error}")))??;
        // A change that could not be written has still happened: it is carried
        // out, and the caller hears that the outcome is uncertain.
        self.fleet.order(performed.orders);
        saved.map_err(|error| {
            ApiError::internal(format!("The state could not be written: {error}"))
        })?;
        Ok(performed.body)
    }
}
