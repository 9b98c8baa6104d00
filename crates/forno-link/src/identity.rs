//! Keys that live in memory.
//!
//! A bake makes two: an [`Identity`], with which forno logs in and whose private
//! half never gets onto a disk, and a [`HostKeyPair`], which is handed to the
//! machine through its user data so that its host key is known before it boots.
//! Private halves are wiped when dropped. The one way out for that of an identity is
//! the kernel's keyring ([`crate::keyring`]), which is memory as well.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::TryRngCore;
use russh::keys::signature::Signer;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{LineEnding, Signature};
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// A public host key that a machine must show.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey(PublicKey);

/// A text that is no OpenSSH public key.
#[derive(Debug, thiserror::Error)]
#[error("not an OpenSSH public key line: {0}")]
pub struct InvalidKey(String);

impl HostKey {
    /// `SHA256:…`, as `ssh-keygen -l` writes it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// `ssh-ed25519 AAAA…`, without a comment.
    pub fn line(&self) -> String {
        line(&self.0)
    }

    /// Such as `ssh-ed25519`.
    pub fn algorithm(&self) -> String {
        self.0.algorithm().to_string()
    }

    pub(crate) fn from_public(key: &PublicKey) -> Self {
        Self(PublicKey::new(key.key_data().clone(), ""))
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.0
    }
}

impl FromStr for HostKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        PublicKey::from_openssh(text.trim())
            .map(|key| Self::from_public(&key))
            .map_err(|error| InvalidKey(error.to_string()))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

/// The key that logs in.
pub struct Identity {
    key: Arc<PrivateKey>,
}

impl Identity {
    /// A new one; `comment` is what its public line ends with, such as the bake.
    pub fn generate(comment: &str) -> Self {
        Self {
            key: Arc::new(generate(comment)),
        }
    }

    pub(crate) fn from_seed(seed: &Zeroizing<[u8; 32]>, comment: &str) -> Self {
        Self {
            key: Arc::new(of_seed(seed, comment)),
        }
    }

    /// The whole of the private half. `None`: not a key of ours.
    pub(crate) fn seed(&self) -> Option<Zeroizing<[u8; 32]>> {
        match self.key.key_data() {
            KeypairData::Ed25519(pair) => Some(Zeroizing::new(pair.private.to_bytes())),
            _ => None,
        }
    }

    /// `ssh-ed25519 AAAA… comment`: what ImportKeyPair takes.
    pub fn public_line(&self) -> String {
        format!("{} {}", line(self.key.public_key()), self.comment())
            .trim_end()
            .to_owned()
    }

    /// The key's own part of the line, by which it is found in an
    /// `authorized_keys` file whatever stands around it.
    pub fn public_blob(&self) -> String {
        let line = line(self.key.public_key());
        line.split_once(' ')
            .map_or_else(String::new, |(_, blob)| blob.to_owned())
    }

    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(crate) fn public(&self) -> &PublicKey {
        self.key.public_key()
    }

    pub(crate) fn private(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.key)
    }

    pub(crate) fn comment(&self) -> String {
        self.key.comment().as_str_lossy().to_owned()
    }

    pub(crate) fn sign(&self, data: &[u8]) -> Result<Signature, russh::keys::signature::Error> {
        self.key.try_sign(data)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

/// A host key to be given to a machine.
pub struct HostKeyPair {
    key: PrivateKey,
}

impl HostKeyPair {
    pub fn generate() -> Self {
        Self { key: generate("") }
    }

    pub fn public(&self) -> HostKey {
        HostKey::from_public(self.key.public_key())
    }

    /// The private half in OpenSSH's format, for `ssh_keys: ed25519_private:` of
    /// cloud-config.
    pub fn private_openssh(&self) -> SecretString {
        // An unencrypted ed25519 key that was just made always encodes.
        self.key
            .to_openssh(LineEnding::LF)
            .map(|text| SecretString::from(text.as_str()))
            .unwrap_or_default()
    }
}

impl fmt::Debug for HostKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKeyPair({})", self.public().fingerprint())
    }
}

fn generate(comment: &str) -> PrivateKey {
    let mut seed = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng
        .try_fill_bytes(seed.as_mut())
        .expect("the kernel gives random bytes");
    of_seed(&seed, comment)
}

fn of_seed(seed: &Zeroizing<[u8; 32]>, comment: &str) -> PrivateKey {
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(seed));
    PrivateKey::new(pair, comment).expect("an unencrypted key pair is a private key")
}

pub(crate) fn line(key: &PublicKey) -> String {
    PublicKey::new(key.key_data().clone(), "")
        .to_openssh()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_public_line_names_its_bake() {
        let identity = Identity::generate("forno base-01");
        let line = identity.public_line();
        assert!(line.starts_with("ssh-ed25519 AAAA"), "{line}");
        assert!(line.ends_with(" forno base-01"), "{line}");
        assert!(line.contains(&identity.public_blob()));
        assert_ne!(line, Identity::generate("forno base-01").public_line());
    }

    #[test]
    fn a_host_key_is_read_back() {
        let pair = HostKeyPair::generate();
        let read: HostKey = format!("{} root@x", pair.public().line()).parse().unwrap();
        assert_eq!(read, pair.public());
        assert!(read.fingerprint().starts_with("SHA256:"));
        assert!("rsa".parse::<HostKey>().is_err());
        let private = pair.private_openssh();
        let private = PrivateKey::from_openssh(private.expose_secret()).unwrap();
        assert_eq!(HostKey::from_public(private.public_key()), pair.public());
    }

    #[test]
    fn debug_output_holds_no_private_key() {
        let pair = HostKeyPair::generate();
        let identity = Identity::generate("x");
        assert!(!format!("{pair:?} {identity:?}").contains("PRIVATE"));
    }
}
