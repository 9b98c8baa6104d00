//! The one place that every action of every service passes through, between
//! the check of its signature and its reply. What a plan of faults does to a
//! call is done here: refuse it, delay it, lose the reply before or after the
//! work.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::denial;
use crate::api::error::ApiError;
use crate::credentials::Credentials;
use crate::ebs::Assemblies;
use crate::faults::{Asked, InjectedError, Marks, Moment, Regime, Reply, ServiceName, Strike};
use crate::fleet::{Fleet, Order};
use crate::sessions::{Everybody, Sessions};
use crate::ssm::Memory;
use crate::state::store::Store;

/// What the services share.
#[derive(Debug)]
pub(crate) struct Service {
    /// Where it answers: `http://127.0.0.1:port`.
    pub(crate) url: String,
    pub(crate) credentials: Credentials,
    /// Credentials that were given out for a while.
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) store: Arc<Store>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) regime: Regime,
    /// What Systems Manager knows of commands and sessions.
    pub(crate) memory: Memory,
    /// Snapshots that are being put together.
    pub(crate) assemblies: Assemblies,
    /// Cancelled when the endpoint ends: nobody waits any longer.
    pub(crate) ending: CancellationToken,
}

/// The result of an action before anybody hears of it.
#[derive(Debug, Default)]
pub(crate) struct Performed {
    pub(crate) body: Vec<u8>,
    /// Whether the world changed and must be safe before the reply.
    pub(crate) changed: bool,
    pub(crate) orders: Vec<Order>,
    /// What the orders are to suffer.
    pub(crate) marks: Marks,
}

/// What the client of a call gets.
pub(super) enum Answer<T> {
    Reply(Result<T, ApiError>),
    /// No reply and no connection.
    Reset,
}

/// What a call has come to.
enum End<T> {
    Answer(Answer<T>),
    Held,
}

impl Service {
    /// Carries out a call whose signature was believed, and does to it what
    /// the plan of faults says. The call goes on when its client has gone.
    pub(super) async fn dispatch<T, W, F>(self: &Arc<Self>, asked: Asked, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnOnce(Marks) -> F + Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send,
    {
        let service = Arc::clone(self);
        let call = async move { service.carry_out(&asked, work).await };
        match self.fleet.tasks.spawn(call).await {
            Ok(End::Answer(answer)) => answer,
            // The connection is watched meanwhile: this is dropped when the
            // client gives up.
            Ok(End::Held) => {
                self.ending.cancelled().await;
                Answer::Reset
            }
            Err(error) => Answer::Reply(Err(ApiError::internal(format!(
                "The call broke off: {error}"
            )))),
        }
    }

    async fn carry_out<T, W, F>(&self, asked: &Asked, work: W) -> End<T>
    where
        W: FnOnce(Marks) -> F,
        F: Future<Output = Result<T, ApiError>>,
    {
        let met = self.regime.meet(asked);
        if !met.latency.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(met.latency) => {}
                () = self.ending.cancelled() => return End::Answer(Answer::Reset),
            }
        }
        let without_work = |reply, end| {
            self.regime.settle(&met, None, reply);
            end
        };
        let result = match &met.strike {
            Strike::Reset(Moment::Before) => {
                return without_work(Reply::Reset, End::Answer(Answer::Reset));
            }
            Strike::Hang(Moment::Before) => return without_work(Reply::Held, End::Held),
            Strike::Refuse(error) => Err(injected(asked, error)),
            Strike::None | Strike::Reset(Moment::After) | Strike::Hang(Moment::After) => {
                work(met.marks.clone()).await
            }
        };
        let (reply, end): (_, fn(_) -> End<T>) = match met.strike {
            Strike::Reset(_) => (Reply::Reset, |_| End::Answer(Answer::Reset)),
            Strike::Hang(_) => (Reply::Held, |_| End::Held),
            _ => (Reply::Sent, |result| End::Answer(Answer::Reply(result))),
        };
        let outcome = result.as_ref().map(|_| ()).map_err(ApiError::code);
        self.regime.settle(&met, Some(outcome), reply);
        end(result)
    }

    /// Carries out an action: its work, then its change to disk, then its
    /// orders to the machines. Only then is there a reply.
    pub(crate) async fn perform<W>(self: &Arc<Self>, work: W) -> Result<Vec<u8>, ApiError>
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
        self.fleet.order(performed.orders, &performed.marks);
        saved.map_err(|error| {
            ApiError::internal(format!("The state could not be written: {error}"))
        })?;
        Ok(performed.body)
    }
}

impl Service {
    /// Whose signatures are believed.
    pub(super) fn everybody(&self) -> Everybody<'_> {
        Everybody {
            own: &self.credentials,
            sessions: &self.sessions,
        }
    }
}

fn injected(asked: &Asked, error: &InjectedError) -> ApiError {
    let denied = asked.service == ServiceName::Ec2 && error.code == "UnauthorizedOperation";
    let message = match error.message.as_str() {
        InjectedError::MESSAGE if denied => denial::message(asked),
        said => said.to_owned(),
    };
    ApiError::new(error.code.clone(), message).with_status(error.status)
}
