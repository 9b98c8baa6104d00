//! A bake's key where another process of the same user can find it again.
//!
//! The key must never be on a disk, and yet outlive a process that is killed: the
//! Linux kernel keeps it in its own memory, in the user's keyring, readable by that
//! user alone, until its time is over or it is taken away. Where there is no keyring
//! (another system, a sandbox that forbids the calls) everything else works the same
//! without.

use std::time::Duration;

use crate::Identity;

/// Nothing could be kept or looked for.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the kernel's keyring cannot be used here: {0}")]
    Unavailable(String),
}

/// Keeps the identity under this name for so long; one of the same name is replaced.
pub fn deposit(name: &str, identity: &Identity, keep: Duration) -> Result<(), KeyringError> {
    let seed = identity
        .seed()
        .ok_or_else(|| KeyringError::Unavailable("not a key of forno".to_owned()))?;
    system::deposit(name, &seed, keep)
}

/// A copy of what was deposited; `None`: nothing is there, or not any more.
/// `comment` is that of the identity.
pub fn take(name: &str, comment: &str) -> Result<Option<Identity>, KeyringError> {
    Ok(system::take(name)?.map(|seed| Identity::from_seed(&seed, comment)))
}

/// Whether something is there to be taken.
pub fn holds(name: &str) -> bool {
    system::take(name).is_ok_and(|seed| seed.is_some())
}

/// Takes away what was deposited, if it is there.
pub fn forget(name: &str) -> Result<(), KeyringError> {
    system::forget(name)
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use linux_keyutils::{
        Key, KeyError, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, Permission,
    };
    use zeroize::Zeroizing;

    use super::KeyringError;

    impl From<KeyError> for KeyringError {
        fn from(error: KeyError) -> Self {
            Self::Unavailable(error.to_string())
        }
    }

    /// That of the user, not of the session: a session ends with its terminal.
    fn ring() -> Result<KeyRing, KeyError> {
        KeyRing::from_special_id(KeyRingIdentifier::User, true)
    }

    pub(super) fn deposit(
        name: &str,
        seed: &Zeroizing<[u8; 32]>,
        keep: Duration,
    ) -> Result<(), KeyringError> {
        let key = ring()?.add_key(name, seed.as_slice())?;
        let kept = restrict(key, keep);
        if kept.is_err() {
            // Readable by others or without an end: rather not there at all.
            key.invalidate()?;
        }
        Ok(kept?)
    }

    fn restrict(key: Key, keep: Duration) -> Result<(), KeyError> {
        // By its user, whether or not a session of his has the keyring linked in.
        key.set_perms(
            KeyPermissionsBuilder::builder()
                .posessor(Permission::ALL)
                .user(Permission::ALL)
                .build(),
        )?;
        // Zero would mean for ever.
        let seconds = usize::try_from(keep.as_secs()).unwrap_or(usize::MAX);
        key.set_timeout(seconds.clamp(1, u32::MAX as usize))
    }

    fn find(name: &str) -> Result<Option<Key>, KeyringError> {
        match ring()?.search(name) {
            Ok(key) => Ok(Some(key)),
            Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn take(name: &str) -> Result<Option<Zeroizing<[u8; 32]>>, KeyringError> {
        let Some(key) = find(name)? else {
            return Ok(None);
        };
        let mut seed = Zeroizing::new([0; 32]);
        let length = key.read(&mut *seed)?;
        // Something else of that name is not ours.
        Ok((length == seed.len()).then_some(seed))
    }

    pub(super) fn forget(name: &str) -> Result<(), KeyringError> {
        if let Some(key) = find(name)? {
            key.invalidate()?;
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::KeyringError;

    fn none<T>() -> Result<T, KeyringError> {
        Err(KeyringError::Unavailable("only Linux has one".to_owned()))
    }

    pub(super) fn deposit(
        _: &str,
        _: &Zeroizing<[u8; 32]>,
        _: Duration,
    ) -> Result<(), KeyringError> {
        none()
    }

    pub(super) fn take(_: &str) -> Result<Option<Zeroizing<[u8; 32]>>, KeyringError> {
        none()
    }

    pub(super) fn forget(_: &str) -> Result<(), KeyringError> {
        none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// A name of this test's own, or nothing where there is no keyring.
    fn name(what: &str) -> Option<String> {
        let name = format!("forno-test:{}:{what}", std::process::id());
        match forget(&name) {
            Ok(()) => Some(name),
            Err(error) => {
                forno_testing::skip(error);
                None
            }
        }
    }

    #[test]
    fn what_was_deposited_is_the_same_key_until_it_is_forgotten() {
        let Some(name) = name("same") else { return };
        assert!(take(&name, "x").unwrap().is_none());
        let first = Identity::generate("x");
        deposit(&name, &first, HOUR).unwrap();
        let second = Identity::generate("x");
        deposit(&name, &second, HOUR).unwrap();
        let taken = take(&name, "x").unwrap().unwrap();
        assert_eq!(taken.public_line(), second.public_line());
        forget(&name).unwrap();
        forget(&name).unwrap();
        assert!(take(&name, "x").unwrap().is_none());
    }

    /// As the kernel shows it: rights of possessor and user, none of group and others,
    /// and a time at which it goes by itself.
    #[test]
    fn nobody_else_may_read_it_and_it_has_an_end() {
        let Some(name) = name("rights") else { return };
        deposit(&name, &Identity::generate("x"), HOUR).unwrap();
        let keys = fs_err::read_to_string("/proc/keys").unwrap();
        let line = keys.lines().find(|line| line.contains(&name)).unwrap();
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_ne!(fields[3], "perm", "{line}");
        assert_eq!(fields[4], "3f3f0000", "{line}");
        forget(&name).unwrap();
    }
}
