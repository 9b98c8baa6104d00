//! SSH keys as EC2 handles them: which it takes, how it fingerprints them, and
//! how it hands out those it makes.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, LineEnding};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use russh::keys::ssh_key;
use sha2::Digest as _;
use ssh_key::HashAlg;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::public::KeyData;

use crate::state::world::KeyKind;

const RSA_BITS: usize = 2048;

/// A public key that EC2 would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) kind: KeyKind,
    pub(crate) fingerprint: String,
    /// One line of `authorized_keys`, with the key pair's name as its comment.
    pub(crate) line: String,
}

impl PublicKey {
    /// Reads a line of `authorized_keys` or the format of RFC 4716.
    pub(crate) fn parse(text: &str, name: &str) -> Option<Self> {
        let text = text.trim();
        let line = if text.starts_with("---- BEGIN SSH2 PUBLIC KEY ----") {
            rfc4716(text)?
        } else {
            text.to_owned()
        };
        let key = ssh_key::PublicKey::from_openssh(&line).ok()?;
        let (kind, fingerprint) = match key.key_data() {
            KeyData::Ed25519(_) => (KeyKind::Ed25519, sha256(&key)),
            KeyData::Rsa(rsa) if [1024, 2048, 4096].contains(&rsa.key_size()) => {
                let public = rsa::RsaPublicKey::try_from(rsa).ok()?;
                let der = public.to_public_key_der().ok()?;
                (KeyKind::Rsa, colons(&md5::compute(der.as_bytes()).0))
            }
            _ => return None,
        };
        Some(Self {
            kind,
            fingerprint,
            line: named_line(&key, name)?,
        })
    }
}

/// A key pair made here. Its private half leaves once, in the reply.
pub(crate) struct MadeKey {
    key: ssh_key::PrivateKey,
    pem: String,
    fingerprint: String,
    kind: KeyKind,
}

impl std::fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeKey")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl MadeKey {
    pub(crate) fn generate(kind: KeyKind) -> Result<Self, String> {
        match kind {
            KeyKind::Ed25519 => Self::ed25519(),
            KeyKind::Rsa => Self::rsa(),
        }
    }

    /// The private half as EC2 gives it: PKCS#1 for RSA, OpenSSH's for Ed25519.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn public(&self, name: &str) -> Option<PublicKey> {
        Some(PublicKey {
            kind: self.kind,
            fingerprint: self.fingerprint.clone(),
            line: named_line(self.key.public_key(), name)?,
        })
    }

    fn ed25519() -> Result<Self, String> {
        let mut seed = [0_u8; 32];
        rand::rng().fill_bytes(&mut seed);
        let pair = Ed25519Keypair::from_seed(&seed);
        let key = ssh_key::PrivateKey::new(KeypairData::from(pair), "")
            .map_err(|error| error.to_string())?;
        let pem = key
            .to_openssh(LineEnding::LF)
            .map_err(|error| error.to_string())?
            .to_string();
        let fingerprint = sha256(key.public_key());
        Ok(Self {
            key,
            pem,
            fingerprint,
            kind: KeyKind::Ed25519,
        })
    }

    fn rsa() -> Result<Self, String> {
        let pair =
            ssh_key::private::RsaKeypair::random(&mut russh::keys::key::safe_rng(), RSA_BITS)
                .map_err(|error| error.to_string())?;
        let rsa = rsa::RsaPrivateKey::try_from(&pair).map_err(|error| error.to_string())?;
        let pem = rsa
            .to_pkcs1_pem(LineEnding::LF)
            .map_err(|error| error.to_string())?
            .to_string();
        let der = rsa.to_pkcs8_der().map_err(|error| error.to_string())?;
        let fingerprint = colons(&sha1::Sha1::digest(der.as_bytes()));
        let key = ssh_key::PrivateKey::new(KeypairData::from(pair), "")
            .map_err(|error| error.to_string())?;
        Ok(Self {
            key,
            pem,
            fingerprint,
            kind: KeyKind::Rsa,
        })
    }
}

/// EC2's fingerprint of an Ed25519 key: base64 with its padding.
fn sha256(key: &ssh_key::PublicKey) -> String {
    STANDARD.encode(key.fingerprint(HashAlg::Sha256).as_bytes())
}

fn colons(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}

fn named_line(key: &ssh_key::PublicKey, name: &str) -> Option<String> {
    let mut key = key.clone();
    key.set_comment(name);
    key.to_openssh().ok()
}

/// The blob of an RFC 4716 key, as a line that starts with its algorithm.
fn rfc4716(text: &str) -> Option<String> {
    let mut blob = String::new();
    let mut in_header = false;
    for line in text
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("----"))
    {
        if in_header || line.contains(':') {
            in_header = line.ends_with('\\');
        } else {
            blob.push_str(line.trim());
        }
    }
    let bytes = STANDARD.decode(&blob).ok()?;
    let length = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let algorithm = std::str::from_utf8(bytes.get(4..4_usize.checked_add(length)?)?).ok()?;
    Some(format!("{algorithm} {blob}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn made_ed25519_keys_can_be_imported_again() {
        let made = MadeKey::generate(KeyKind::Ed25519).unwrap();
        let public = made.public("forno").unwrap();
        assert!(public.line.starts_with("ssh-ed25519 ") && public.line.ends_with(" forno"));
        assert_eq!(PublicKey::parse(&public.line, "forno").unwrap(), public);
        assert!(public.fingerprint.ends_with('='));
        assert!(
            made.pem()
                .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        // An ECDSA key is a key, but none that EC2 takes.
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "-----BEGIN PUBLIC KEY-----",
            ecdsa,
        ] {
            assert_eq!(PublicKey::parse(bad, "n"), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), body in "[A-Za-z0-9+/=\n\\\\:]{0,80}") {
            let _ = PublicKey::parse(&text, "n");
            let framed = format!("---- BEGIN SSH2 PUBLIC KEY ----\n{body}\n---- END SSH2 PUBLIC KEY ----");
            let _ = PublicKey::parse(&framed, "n");
        }
    }
}
