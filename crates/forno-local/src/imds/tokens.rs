//! Session tokens of IMDSv2, per machine and in memory only.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngCore as _;
use subtle::ConstantTimeEq as _;

/// The longest life of a token.
const LONGEST: u64 = 6 * 3600;
/// A guest that asks for tokens in a loop must not fill the memory.
const MOST: usize = 1024;

/// The tokens of one machine.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Vec<(String, Instant)>>);

impl Tokens {
    /// A token for a stated life in seconds; `None` when that is out of range.
    pub(super) fn issue(&self, ttl: &str, now: Instant) -> Option<String> {
        let seconds: u64 = ttl
            .parse()
            .ok()
            .filter(|seconds| (1..=LONGEST).contains(seconds))?;
        let mut bytes = [0_u8; 42];
        rand::rng().fill_bytes(&mut bytes);
        let token = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, bytes);
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|(_, until)| *until > now);
        if tokens.len() == MOST {
            tokens.remove(0);
        }
        tokens.push((token.clone(), now + Duration::from_secs(seconds)));
        Some(token)
    }

    /// Whether a token is one of ours and still lives.
    pub(super) fn accept(&self, token: &[u8], now: Instant) -> bool {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .iter()
            .any(|(known, until)| *until > now && bool::from(known.as_bytes().ct_eq(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_live_as_long_as_asked() {
        let tokens = Tokens::default();
        let now = Instant::now();
        let token = tokens.issue("60", now).unwrap();
        assert!(tokens.accept(token.as_bytes(), now + Duration::from_secs(59)));
        assert!(!tokens.accept(token.as_bytes(), now + Duration::from_mins(1)));
        assert!(!tokens.accept(b"x", now));
        assert!(!Tokens::default().accept(token.as_bytes(), now));
    }

    #[test]
    fn odd_lives_are_refused() {
        for ttl in ["", "0", "-1", "21601", "ten"] {
            assert_eq!(Tokens::default().issue(ttl, Instant::now()), None, "{ttl}");
        }
    }

    #[test]
    fn tokens_do_not_pile_up() {
        let tokens = Tokens::default();
        let now = Instant::now();
        for _ in 0..2 * MOST {
            tokens.issue("60", now).unwrap();
        }
        assert_eq!(tokens.0.lock().unwrap().len(), MOST);
    }
}
