//! Credentials for a while: what AssumeRole gives, and who asks with them.
//!
//! They are held in memory only: an endpoint that is started again knows none of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use jiff::Timestamp;
use rand::{Rng as _, RngCore as _};
use subtle::ConstantTimeEq as _;

use crate::api::sigv4::{Keys, Refusal};
use crate::credentials::Credentials;
use crate::state::world::ACCOUNT;

/// Of one AssumeRole.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) token: String,
    pub(crate) expires: Timestamp,
    /// `AROA…:NAME`
    pub(crate) user_id: String,
    pub(crate) arn: String,
}

/// All that were begun, by their access keys.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    /// `role` is the role's name, `name` the session's.
    pub(crate) fn begin(&self, role: &str, name: &str, expires: Timestamp) -> Session {
        let letters = |length: usize| -> String {
            const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
            let mut random = rand::rng();
            let mut letter = || char::from(LETTERS[random.random_range(0..LETTERS.len())]);
            (0..length).map(|_| letter()).collect()
        };
        let bytes = |length: usize| {
            let mut bytes = vec![0; length];
            rand::rng().fill_bytes(&mut bytes);
            base64::engine::general_purpose::STANDARD.encode(bytes)
        };
        let session = Session {
            access_key_id: format!("ASIA{}", letters(16)),
            secret_access_key: bytes(30),
            token: bytes(150),
            expires,
            // The same for every session of a role.
            user_id: format!("AROA{:A<16.16}:{name}", role.to_ascii_uppercase()),
            arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}"),
        };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session.access_key_id.clone(), session.clone());
        session
    }

    pub(crate) fn find(&self, access_key: &str) -> Option<Session> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(access_key).cloned()
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// Everybody whose signatures are believed.
#[derive(Clone, Copy)]
pub(crate) struct Everybody<'a> {
    pub(crate) own: &'a Credentials,
    pub(crate) sessions: &'a Sessions,
}

impl Keys for Everybody<'_> {
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<String, Refusal> {
        let Some(session) = self.sessions.find(access_key) else {
            return self.own.secret(access_key, token, now);
        };
        let told = token.unwrap_or_default().as_bytes();
        if !bool::from(session.token.as_bytes().ct_eq(told)) {
            return Err(Refusal::UnknownKey);
        }
        if session.expires <= now {
            return Err(Refusal::SessionEnded);
        }
        Ok(session.secret_access_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_believed_with_its_token_and_for_its_time() {
        let own = Credentials {
            access_key_id: "AKIAOWN".to_owned(),
            secret_access_key: "secret".to_owned(),
        };
        let sessions = Sessions::default();
        let now = Timestamp::UNIX_EPOCH;
        let end = Timestamp::from_second(900).unwrap();
        let session = sessions.begin("baker", "nightly", end);
        let keys = Everybody {
            own: &own,
            sessions: &sessions,
        };
        let (key, token) = (session.access_key_id.as_str(), session.token.as_str());
        let secret = Ok(session.secret_access_key.clone());
        assert_eq!(keys.secret(key, Some(token), now), secret);
        for wrong in [None, Some("x")] {
            assert_eq!(keys.secret(key, wrong, now), Err(Refusal::UnknownKey));
        }
        assert_eq!(
            keys.secret(key, Some(token), end),
            Err(Refusal::SessionEnded)
        );
        assert_eq!(keys.secret("AKIAOWN", None, end), Ok("secret".to_owned()));
        assert_eq!(
            keys.secret("AKIAOTHER", None, now),
            Err(Refusal::UnknownKey)
        );
        assert_eq!(session.user_id, "AROABAKERAAAAAAAAAAA:nightly");
        assert!(!format!("{sessions:?}").contains(token));
    }
}
