//! What the agent asks for before the first byte, and what it is told.

use serde_json::{Value, json};

use super::cipher::Cipher;
use super::end::End;
use super::payload::{
    CLIENT_VERSION, HandshakeRequest, HandshakeResponse, KmsEncryption, ProcessedAction,
    RequestedAction, SessionType,
};
use crate::ssm::{DataKey, Purpose};

const DONE: u32 = 1;
const FAILED: u32 = 2;
const UNKNOWN: u32 = 3;

/// A handshake that is being answered.
#[derive(Debug)]
pub(super) struct Handshake {
    actions: Vec<RequestedAction>,
    /// The key of KMS that the session is to be encrypted with.
    key_id: Option<String>,
}

impl Handshake {
    pub(super) fn read(payload: &[u8], purpose: &Purpose) -> Result<Self, End> {
        let request: HandshakeRequest = serde_json::from_slice(payload)
            .map_err(|error| End::Failed(format!("the agent's handshake is no JSON: {error}")))?;
        tracing::debug!(agent = request.agent_version, "the agent asks");
        let mut key_id = None;
        for action in &request.requested_client_actions {
            match action.action_type.as_str() {
                "SessionType" => check(&parameters(action)?, purpose)?,
                "KMSEncryption" => {
                    let asked: KmsEncryption = parameters(action)?;
                    if !Cipher::POSSIBLE {
                        return Err(End::Encryption(format!(
                            "the account's session preferences ask for encryption by the KMS key {}, \
                             which this forno was built without (feature `kms`)",
                            asked.key_id
                        )));
                    }
                    key_id = Some(asked.key_id);
                }
                _ => {}
            }
        }
        Ok(Self {
            actions: request.requested_client_actions,
            key_id,
        })
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(super) fn answer(self, key: Option<&DataKey>) -> HandshakeResponse {
        let mut errors = Vec::new();
        let processed_client_actions = self
            .actions
            .into_iter()
            .map(|action| {
                let (status, result, error) = match (action.action_type.as_str(), key) {
                    ("SessionType", _) => (DONE, Value::Null, String::new()),
                    ("KMSEncryption", Some(key)) => {
                        let result = json!({ "KMSCipherTextKey": key.ciphertext });
                        (DONE, result, String::new())
                    }
                    ("KMSEncryption", None) => (FAILED, Value::Null, "no data key".to_owned()),
                    (other, _) => (UNKNOWN, Value::Null, format!("Unsupported action {other}")),
                };
                if !error.is_empty() {
                    errors.push(error.clone());
                }
                ProcessedAction {
                    action_type: action.action_type,
                    action_status: status,
                    action_result: result,
                    error,
                }
            })
            .collect();
        HandshakeResponse {
            client_version: CLIENT_VERSION.to_owned(),
            processed_client_actions,
            errors: Some(errors).filter(|errors| !errors.is_empty()),
        }
    }
}

fn parameters<T: serde::de::DeserializeOwned>(action: &RequestedAction) -> Result<T, End> {
    T::deserialize(&action.action_parameters).map_err(|error| {
        End::Failed(format!(
            "the agent's wish for {} is not understood: {error}",
            action.action_type
        ))
    })
}

/// Only what was asked for is spoken here: the bytes of one connection, or of a
/// terminal.
fn check(asked: &SessionType, purpose: &Purpose) -> Result<(), End> {
    let multiplexed = asked
        .properties
        .get("type")
        .is_some_and(|kind| kind == "LocalPortForwarding");
    let (right, document) = match purpose {
        Purpose::Port(_) => (
            asked.session_type == "Port" && !multiplexed,
            "AWS-StartSSHSession",
        ),
        Purpose::Terminal(_) => (
            ["InteractiveCommands", "Standard_Stream"].contains(&asked.session_type.as_str()),
            "AWS-StartInteractiveCommand",
        ),
    };
    if right {
        return Ok(());
    }
    Err(End::Failed(format!(
        "the session is of the type {}{}, not one of the document {document}",
        asked.session_type,
        if multiplexed { ", multiplexed" } else { "" },
    )))
}
