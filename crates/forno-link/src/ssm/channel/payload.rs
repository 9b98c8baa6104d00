//! What is written inside of messages: JSON, and one flag. Names are the
//! service's own; what is missing is taken for empty, what is more is ignored.

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::frame::Message;

/// What we say we are: the agent chooses by it what it uses of the protocol.
pub const CLIENT_VERSION: &str = "1.2.764.0";

/// The first frame of every connection, in text.
pub(super) fn open_data_channel(token: &SecretString, client: Uuid) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct OpenDataChannel<'a> {
        message_schema_version: &'a str,
        request_id: String,
        token_value: &'a str,
        client_id: String,
        client_version: &'a str,
    }
    to_json(&OpenDataChannel {
        message_schema_version: "1.0",
        request_id: Uuid::new_v4().to_string(),
        token_value: token.expose_secret(),
        client_id: client.to_string(),
        client_version: CLIENT_VERSION,
    })
}

/// That a message has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Acknowledgement {
    #[serde(default)]
    pub acknowledged_message_type: String,
    #[serde(default)]
    pub acknowledged_message_id: String,
    pub acknowledged_message_sequence_number: i64,
    #[serde(default)]
    pub is_sequential_message: bool,
}

impl Acknowledgement {
    pub(super) fn of(message: &Message) -> Self {
        Self {
            acknowledged_message_type: message.kind.name().to_owned(),
            acknowledged_message_id: message.id.to_string(),
            acknowledged_message_sequence_number: message.sequence,
            is_sequential_message: true,
        }
    }
}

/// The agent or the service has ended the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ChannelClosed {
    pub message_id: String,
    pub created_date: String,
    pub destination_id: String,
    pub session_id: String,
    pub message_type: String,
    pub schema_version: u32,
    /// Why; empty when it ended as it should.
    pub output: String,
}

/// What the agent asks for before anything else.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HandshakeRequest {
    pub agent_version: String,
    #[serde(deserialize_with = "or_null")]
    pub requested_client_actions: Vec<RequestedAction>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestedAction {
    pub action_type: String,
    pub action_parameters: Value,
}

/// The parameters of the action `SessionType`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionType {
    pub session_type: String,
    pub properties: Value,
}

/// The parameters of the action `KMSEncryption`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KmsEncryption {
    #[serde(rename = "KMSKeyId")]
    pub key_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HandshakeResponse {
    pub client_version: String,
    pub processed_client_actions: Vec<ProcessedAction>,
    pub errors: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessedAction {
    pub action_type: String,
    /// 1 done, 2 failed, 3 not known.
    pub action_status: u32,
    pub action_result: Value,
    pub error: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HandshakeComplete {
    /// In nanoseconds.
    pub handshake_time_to_complete: i64,
    /// What the account's preferences have shown to people.
    pub customer_message: String,
}

/// A challenge of the agent and the answer to it, in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Challenge {
    pub challenge: String,
}

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Size {
    pub cols: u32,
    pub rows: u32,
}

/// What a payload of the type `Flag` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    DisconnectToPort,
    TerminateSession,
    /// Nothing listens where the agent was to connect to.
    ConnectToPortError,
}

impl Flag {
    pub fn parse(payload: &[u8]) -> Option<Self> {
        match payload {
            [0, 0, 0, 1] => Some(Self::DisconnectToPort),
            [0, 0, 0, 2] => Some(Self::TerminateSession),
            [0, 0, 0, 3] => Some(Self::ConnectToPortError),
            _ => None,
        }
    }

    pub fn payload(self) -> Bytes {
        Bytes::from_static(match self {
            Self::DisconnectToPort => &[0, 0, 0, 1],
            Self::TerminateSession => &[0, 0, 0, 2],
            Self::ConnectToPortError => &[0, 0, 0, 3],
        })
    }
}

/// Go writes an empty list as null.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Of our own types, of which every one can be written.
pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
