//! What links over Systems Manager ask of AWS, asked of the gateway.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use forno_aws::{Error, Gateway, InstanceId, InvocationOutput, Kind, Outcome, SessionDocument};
use forno_link::ssm::{
    CommandOutput, CommandState, Commands, DataKey, Pace, Ping, Purpose, Refusal, RefusalKind,
    SessionOpened, Stage, Store, Systems,
};
use jiff::Timestamp;
use secrecy::SecretString;

use super::bucket::BucketPlace;

/// What all bakes of a process share.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    pub(crate) gateway: Gateway,
    pub(crate) systems: Arc<dyn Systems>,
    /// Asks about the commands of all at once.
    pub(crate) commands: Commands,
}

impl Cloud {
    pub(crate) fn new(gateway: Gateway, poll: Duration) -> Self {
        let systems: Arc<dyn Systems> = Arc::new(AwsSystems {
            gateway: gateway.clone(),
        });
        let usual = Pace::default();
        let pace = Pace {
            first: usual.first.min(poll / 5),
            most: usual.most.min(poll),
        };
        Self {
            gateway,
            commands: Commands::with_pace(Arc::clone(&systems), pace),
            systems,
        }
    }
}

/// Systems Manager of the gateway's account and region.
#[derive(Clone, Debug)]
struct AwsSystems {
    gateway: Gateway,
}

/// A part of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct BucketStore {
    gateway: Gateway,
    place: BucketPlace,
}

impl BucketStore {
    pub(crate) fn new(gateway: Gateway, place: BucketPlace) -> Self {
        Self { gateway, place }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.place.prefix)
    }
}

fn refused(error: &Error) -> Refusal {
    let kind = match error.code() {
        Some("InvalidInstanceId" | "TargetNotConnected") => RefusalKind::NotConnected,
        _ if error.outcome() == Outcome::Unknown || error.kind().is_transient() => {
            RefusalKind::Unreachable
        }
        _ => match error.kind() {
            Kind::NotFound => RefusalKind::Unknown,
            Kind::Unauthorized | Kind::Credentials | Kind::Expired => RefusalKind::Denied,
            _ => RefusalKind::Other,
        },
    };
    Refusal::new(kind, error.to_string())
}

fn instance(id: &str) -> Result<InstanceId, Refusal> {
    InstanceId::new(id).map_err(|error| Refusal::new(RefusalKind::Other, error.to_string()))
}

/// SSM's words for where a command stands.
fn stage(details: &str) -> Stage {
    // Some calls write them with blanks, some without.
    match details.replace(' ', "").as_str() {
        "" | "Pending" | "InProgress" | "Delayed" | "Cancelling" => Stage::Underway,
        "Success" | "Failed" => Stage::Ended,
        "ExecutionTimedOut" | "TimedOut" => Stage::ExecutionTimedOut,
        "Cancelled" => Stage::Cancelled,
        _ => Stage::Undelivered(details.to_owned()),
    }
}

fn said(output: InvocationOutput) -> CommandOutput {
    CommandOutput {
        stage: stage(&output.details),
        response_code: output.response_code,
        stdout: output.stdout,
        stderr: output.stderr,
    }
}

fn opened(session: forno_aws::Session) -> SessionOpened {
    SessionOpened {
        session_id: session.id,
        stream_url: session.stream_url,
        token: session.token,
    }
}

#[async_trait]
impl Systems for AwsSystems {
    async fn ping(&self, instance_id: &str) -> Result<Option<Ping>, Refusal> {
        let agent = self.gateway.agent(&instance(instance_id)?).await;
        let agent = agent.map_err(|error| refused(&error))?;
        Ok(agent.map(|agent| Ping {
            online: agent.online,
            last: agent
                .last_ping
                .map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
            agent_version: agent.version.unwrap_or_default(),
        }))
    }

    async fn send_command(
        &self,
        instance_id: &str,
        script: &str,
        delivery: Duration,
        execution: Duration,
    ) -> Result<String, Refusal> {
        self.gateway
            .send_command(
                &instance(instance_id)?,
                script,
                "forno",
                delivery,
                execution,
            )
            .await
            .map_err(|error| refused(&error))
    }

    async fn command_states(&self, since: SystemTime) -> Result<Vec<CommandState>, Refusal> {
        let since = Timestamp::try_from(since).unwrap_or(Timestamp::UNIX_EPOCH);
        let found = self.gateway.commands_since(since).await;
        let found = found.map_err(|error| refused(&error))?;
        Ok(found
            .into_iter()
            .map(|one| CommandState {
                stage: stage(&one.details),
                command_id: one.command_id,
                instance_id: one.instance_id,
            })
            .collect())
    }

    async fn command_output(
        &self,
        command_id: &str,
        instance_id: &str,
    ) -> Result<CommandOutput, Refusal> {
        self.gateway
            .command_output(command_id, &instance(instance_id)?)
            .await
            .map(said)
            .map_err(|error| refused(&error))
    }

    async fn cancel_command(&self, command_id: &str) -> Result<(), Refusal> {
        let cancelled = self.gateway.cancel_command(command_id).await;
        cancelled.map_err(|error| refused(&error))
    }

    async fn start_session(
        &self,
        instance_id: &str,
        purpose: &Purpose,
    ) -> Result<SessionOpened, Refusal> {
        let document = match purpose {
            Purpose::Port(port) => SessionDocument::Port(*port),
            Purpose::Terminal(command) => SessionDocument::Command(command),
        };
        self.gateway
            .start_session(&instance(instance_id)?, document, "forno")
            .await
            .map(opened)
            .map_err(|error| refused(&error))
    }

    async fn resume_session(&self, session_id: &str) -> Result<SessionOpened, Refusal> {
        let resumed = self.gateway.resume_session(session_id).await;
        resumed.map(opened).map_err(|error| refused(&error))
    }

    async fn terminate_session(&self, session_id: &str) -> Result<(), Refusal> {
        let ended = self.gateway.terminate_session(session_id).await;
        ended.map_err(|error| refused(&error))
    }

    async fn sign_stream(&self, stream_url: &str) -> Result<Vec<(String, String)>, Refusal> {
        let signed = self.gateway.sign_stream(stream_url).await;
        signed.map_err(|error| refused(&error))
    }

    #[cfg(feature = "kms")]
    async fn data_key(
        &self,
        key_id: &str,
        context: &[(String, String)],
    ) -> Result<DataKey, Refusal> {
        /// Half of it for each direction.
        const BYTES: i32 = 64;
        let key = self.gateway.data_key(key_id, BYTES, context).await;
        let key = key.map_err(|error| refused(&error))?;
        Ok(DataKey {
            plaintext: key.plaintext,
            ciphertext: key.ciphertext,
        })
    }

    #[cfg(not(feature = "kms"))]
    async fn data_key(&self, _: &str, _: &[(String, String)]) -> Result<DataKey, Refusal> {
        Err(Refusal::new(
            RefusalKind::Other,
            "this forno is built without KMS; the account's Session Manager preferences ask for it",
        ))
    }
}

#[async_trait]
impl Store for BucketStore {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Refusal> {
        let key = self.key(key);
        let put = self.gateway.put_object(&self.place.bucket, &key, content);
        put.await.map_err(|error| refused(&error))
    }

    async fn get(&self, key: &str) -> Result<Bytes, Refusal> {
        let key = self.key(key);
        let got = self.gateway.get_object(&self.place.bucket, &key);
        got.await.map_err(|error| refused(&error))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Refusal> {
        let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        let deleted = self.gateway.delete_objects(&self.place.bucket, &keys).await;
        deleted.map_err(|error| refused(&error))
    }

    async fn presign_get(&self, key: &str, valid: Duration) -> Result<SecretString, Refusal> {
        self.gateway
            .presign_get(&self.place.bucket, &self.key(key), valid)
            .await
            .map_err(|error| refused(&error))
    }

    async fn presign_put(&self, key: &str, valid: Duration) -> Result<SecretString, Refusal> {
        self.gateway
            .presign_put(&self.place.bucket, &self.key(key), valid)
            .await
            .map_err(|error| refused(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_ssm_has_a_meaning() {
        // All values of StatusDetails that SSM's API reference lists.
        let table = [
            ("Pending", Stage::Underway),
            ("In Progress", Stage::Underway),
            ("InProgress", Stage::Underway),
            ("Delayed", Stage::Underway),
            ("Cancelling", Stage::Underway),
            ("Success", Stage::Ended),
            ("Failed", Stage::Ended),
            ("Cancelled", Stage::Cancelled),
            ("Execution Timed Out", Stage::ExecutionTimedOut),
            ("ExecutionTimedOut", Stage::ExecutionTimedOut),
        ];
        for (details, expected) in table {
            assert_eq!(stage(details), expected, "{details}");
        }
        for details in [
            "Delivery Timed Out",
            "DeliveryTimedOut",
            "Undeliverable",
            "Terminated",
            "AccessDenied",
            "InvalidPlatform",
        ] {
            assert_eq!(stage(details), Stage::Undelivered(details.to_owned()));
        }
    }
}
