//! Whether hardware virtualisation can be trusted on this computer.
//!
//! That /dev/kvm opens proves little: there are computers on which it offers a
//! virtualisation of its own that no stock kernel survives. So the processor
//! must say that it can, and the first guest must be seen to come up; what was
//! seen is remembered until this computer restarts.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::doctor::Kvm;

const DEVICE: &str = "/dev/kvm";

/// What was seen, kept in a file named after the present boot.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    file: Option<PathBuf>,
}

impl Memory {
    pub(crate) fn of(cache_dir: &Path) -> Self {
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self {
            file: boot.map(|id| cache_dir.join(format!("kvm-{}", id.trim()))),
        }
    }

    fn recall(&self) -> Option<bool> {
        let text = fs_err::read_to_string(self.file.as_ref()?).ok()?;
        match text.trim() {
            "works" => Some(true),
            "broken" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn remember(&self, works: bool) {
        let Some(file) = &self.file else { return };
        let word = if works { "works\n" } else { "broken\n" };
        let written = file
            .parent()
            .map_or(Ok(()), fs_err::create_dir_all)
            .and_then(|()| fs_err::write(file, word));
        if let Err(error) = written {
            tracing::debug!(%error, "what is known about KVM is not remembered");
        }
    }
}

/// What is known without starting anything.
pub(crate) fn examine(memory: &Memory) -> Kvm {
    judge(
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map(drop),
        &fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        memory.recall(),
    )
}

fn judge(opened: std::io::Result<()>, cpuinfo: &str, recalled: Option<bool>) -> Kvm {
    if let Err(error) = opened {
        return Kvm::Absent(match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no {DEVICE}"),
            std::io::ErrorKind::PermissionDenied => {
                format!("{DEVICE} is closed to this user (group kvm opens it)")
            }
            _ => format!("{DEVICE} does not open: {error}"),
        });
    }
    let capable = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| {
            line.split_ascii_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        });
    match recalled {
        _ if !capable => Kvm::Broken(format!(
            "{DEVICE} opens, but the processor offers no virtualisation (neither vmx nor svm)"
        )),
        Some(true) => Kvm::Proven,
        Some(false) => {
            Kvm::Broken("a guest under it did not come up since this computer started".to_owned())
        }
        None => Kvm::Likely,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABLE: &str = "processor: 0\nflags\t\t: fpu vmx sse\n";
    const PLAIN: &str = "processor: 0\nflags\t\t: fpu sse\n";

    #[test]
    fn an_open_device_is_not_enough() {
        assert!(matches!(judge(Ok(()), PLAIN, Some(true)), Kvm::Broken(_)));
        assert_eq!(judge(Ok(()), CAPABLE, None), Kvm::Likely);
        assert_eq!(judge(Ok(()), CAPABLE, Some(true)), Kvm::Proven);
        assert!(matches!(
            judge(Ok(()), CAPABLE, Some(false)),
            Kvm::Broken(_)
        ));
        let closed = Err(std::io::ErrorKind::PermissionDenied.into());
        assert!(matches!(judge(closed, CAPABLE, None), Kvm::Absent(_)));
    }

    #[test]
    fn what_was_seen_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::of(&dir.path().join("deep"));
        assert_eq!(memory.recall(), None);
        memory.remember(false);
        assert_eq!(memory.recall(), Some(false));
        memory.remember(true);
        assert_eq!(memory.recall(), Some(true));
    }
}
