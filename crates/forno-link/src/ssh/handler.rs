//! What russh asks us during a connection: above all whether the host key is
//! the one that was pinned.

use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;

use crate::HostKey;

/// What a connection learnt about itself, for the messages.
#[derive(Debug, Default)]
pub(super) struct Facts {
    other_key: Mutex<Option<String>>,
    end: Mutex<Option<String>>,
}

impl Facts {
    /// The fingerprint of the wrong key that was shown.
    pub(super) fn other_key(&self) -> Option<String> {
        get(&self.other_key)
    }

    /// Why the connection ended.
    pub(super) fn end(&self) -> String {
        get(&self.end).unwrap_or_else(|| "closed by the machine".into())
    }
}

fn get(slot: &Mutex<Option<String>>) -> Option<String> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(slot: &Mutex<Option<String>>, text: String) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
}

pub(super) struct ClientHandler {
    pub(super) expected: HostKey,
    pub(super) facts: Arc<Facts>,
}

impl client::Handler for ClientHandler {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let found = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                if key.key_data() == self.expected.public().key_data() {
                    return Ok(true);
                }
                HostKey::from_public(key).fingerprint()
            }
            // None was asked for: no certificate algorithm is offered.
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        set(&self.facts.other_key, found);
        Ok(false)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                set(
                    &self.facts.end,
                    format!("the machine said: {}", info.message),
                );
                Ok(())
            }
            DisconnectReason::Error(error) => {
                set(&self.facts.end, describe(&error));
                Err(error)
            }
        }
    }
}

/// russh's error in words that say what to look at.
pub(super) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::KeepaliveTimeout => "the machine stopped answering".into(),
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError => {
            "closed by the machine".into()
        }
        russh::Error::IO(error) => match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "closed by the machine".into(),
            _ => error.to_string(),
        },
        other => other.to_string(),
    }
}
