//! What the links over Systems Manager ask of AWS.
//!
//! This crate knows no SDK: whoever makes such a link brings both of these. They
//! bring their own patience too (a throttled call is repeated there), so a
//! refusal is an answer.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;

/// Systems Manager, for one account and region.
#[async_trait]
pub trait Systems: Send + Sync + fmt::Debug {
    /// What is known of an instance's agent; none when it never registered.
    async fn ping(&self, instance_id: &str) -> Result<Option<Ping>, Refusal>;

    /// Has a shell script run as root (`AWS-RunShellScript`); the command's id.
    /// There is no client token: when the reply is lost
    /// ([`RefusalKind::Unreachable`]) it may run all the same, so a script must
    /// bear being run twice.
    ///
    /// `delivery` is from 30 s up, `execution` from 5 s to 48 h. The script may
    /// have about 60 KiB and must not hold a secret: it stays in the command
    /// history and in CloudTrail.
    async fn send_command(
        &self,
        instance_id: &str,
        script: &str,
        delivery: Duration,
        execution: Duration,
    ) -> Result<String, Refusal>;

    /// Where all commands stand that were sent since then, one call for the
    /// whole process. Some may be missing for seconds after they were sent.
    async fn command_states(&self, since: SystemTime) -> Result<Vec<CommandState>, Refusal>;

    /// What an ended command said. [`RefusalKind::Unknown`] may pass.
    async fn command_output(
        &self,
        command_id: &str,
        instance_id: &str,
    ) -> Result<CommandOutput, Refusal>;

    /// Asks for a command's end; the agent does what it can.
    async fn cancel_command(&self, command_id: &str) -> Result<(), Refusal>;

    async fn start_session(
        &self,
        instance_id: &str,
        purpose: &Purpose,
    ) -> Result<SessionOpened, Refusal>;

    /// A new token for a session whose connection ended.
    async fn resume_session(&self, session_id: &str) -> Result<SessionOpened, Refusal>;

    async fn terminate_session(&self, session_id: &str) -> Result<(), Refusal>;

    /// The headers of a freshly signed upgrade request to a session's stream URL.
    async fn sign_stream(&self, stream_url: &str) -> Result<Vec<(String, String)>, Refusal>;

    /// A data key of KMS (64 bytes, `GenerateDataKey`) for a session that is
    /// encrypted with the account's own key.
    async fn data_key(
        &self,
        key_id: &str,
        context: &[(String, String)],
    ) -> Result<DataKey, Refusal>;
}

/// A place for objects that the machine fetches and leaves by presigned URLs: a
/// bucket and a prefix. Keys are relative to it.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Refusal>;

    async fn get(&self, key: &str) -> Result<Bytes, Refusal>;

    /// Missing ones are what they shall be.
    async fn delete(&self, keys: &[String]) -> Result<(), Refusal>;

    /// A URL by which the machine may fetch the object for so long (at most 7
    /// days, and no longer than the credentials last).
    async fn presign_get(&self, key: &str, valid: Duration) -> Result<SecretString, Refusal>;

    /// A URL to which the machine may put the object.
    async fn presign_put(&self, key: &str, valid: Duration) -> Result<SecretString, Refusal>;
}

/// A call that was answered with no, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub kind: RefusalKind,
    /// With the name of the call and the service's own words.
    pub message: String,
}

impl Refusal {
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The agent is not online: `InvalidInstanceId`, `TargetNotConnected`.
    NotConnected,
    /// No such command, session or object (yet, or any more).
    Unknown,
    /// The caller may not.
    Denied,
    /// No answer came; the call may have been carried out.
    Unreachable,
    Other,
}

/// An agent that registered with Systems Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// `Online`; otherwise `ConnectionLost` or `Inactive`.
    pub online: bool,
    /// When it was last heard of.
    pub last: SystemTime,
    /// Such as `3.3.3572.0`.
    pub agent_version: String,
}

/// A command of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandState {
    pub command_id: String,
    pub instance_id: String,
    pub stage: Stage,
}

/// Where a command is, by its `StatusDetails`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `Pending`, `Delayed`, `InProgress`, `Cancelling`.
    Underway,
    /// `Success`, or `Failed` with the script's own exit status.
    Ended,
    /// `Execution Timed Out`.
    ExecutionTimedOut,
    /// `Cancelled`.
    Cancelled,
    /// `Delivery Timed Out`, `Undeliverable`, `Terminated`, `Access Denied`,
    /// `Invalid Platform`: it never ran to its end. The word is EC2's.
    Undelivered(String),
}

/// What an ended command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    pub stage: Stage,
    /// The exit status, -1 where there is none.
    pub response_code: i32,
    /// The first 24,000 characters.
    pub stdout: String,
    /// The first 8,000 characters.
    pub stderr: String,
}

/// What a session carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One connection to a TCP port of the instance itself (`AWS-StartSSHSession`,
    /// which does so for any port).
    Port(u16),
    /// A pseudo terminal in which this command line runs
    /// (`AWS-StartInteractiveCommand`), as the agent's own user.
    Terminal(String),
}

/// How the data channel of a session is reached.
#[derive(Clone, Debug)]
pub struct SessionOpened {
    pub session_id: String,
    pub stream_url: String,
    pub token: SecretString,
}

/// 64 bytes, and what the other end can make them from.
#[derive(Clone, Debug)]
pub struct DataKey {
    /// In base64.
    pub plaintext: SecretString,
    /// In base64.
    pub ciphertext: String,
}
