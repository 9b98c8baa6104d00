//! What a machine's console has shown: a growing file, read from the outside.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// As much as is ever handed out.
const TAIL: u64 = 4 << 20;
/// How far back a mark may lie from the present end.
const WINDOW: u64 = 256 << 10;

/// A console log and where the present boot begins in it.
#[derive(Debug)]
pub(crate) struct Console {
    path: PathBuf,
    boot: AtomicU64,
}

impl Console {
    pub(crate) fn new(path: PathBuf) -> Self {
        let length = length_of(&path);
        Self {
            path,
            boot: AtomicU64::new(length),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new boot begins: marks from before do not count any more.
    pub(crate) fn begin_boot(&self) {
        self.boot.store(length_of(&self.path), Ordering::Relaxed);
    }

    /// The last of everything.
    pub(crate) fn tail(&self) -> Vec<u8> {
        read_from(&self.path, length_of(&self.path).saturating_sub(TAIL))
    }

    /// What the present boot has shown lately.
    pub(crate) fn since_boot(&self) -> String {
        let boot = self.boot.load(Ordering::Relaxed);
        let from = boot.max(length_of(&self.path).saturating_sub(WINDOW));
        String::from_utf8_lossy(&read_from(&self.path, from)).into_owned()
    }

    /// Whether the guest shows its login prompt.
    pub(crate) fn shows_login(&self) -> bool {
        self.since_boot()
            .lines()
            .any(|line| line.trim_end().ends_with(" login:"))
    }

    /// The line with which the guest's kernel gave up, if it did.
    pub(crate) fn panic_line(&self) -> Option<String> {
        let text = self.since_boot();
        let line = text
            .lines()
            .find(|line| line.contains("Kernel panic - not syncing"))?;
        let from = line.find("Kernel panic")?;
        Some(line.get(from..)?.trim().to_owned())
    }

    /// The last lines that say something, to stand in a message.
    pub(crate) fn last_words(&self) -> String {
        let text = self.since_boot();
        let mut lines = text
            .lines()
            .rev()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .take(3)
            .collect::<Vec<_>>();
        lines.reverse();
        lines.join("; ")
    }
}

fn length_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn read_from(path: &Path, from: u64) -> Vec<u8> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    let length = file
        .metadata()
        .map_or(0, |meta| meta.len())
        .saturating_sub(from);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => filled += n,
        }
    }
    bytes.truncate(filled);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_count_for_their_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        fs_err::write(&path, "old host login: \n").unwrap();
        let console = Console::new(path.clone());
        assert!(!console.shows_login());
        fs_err::write(&path, "old host login: \nbooting\nip-172-31-0-9 login: ").unwrap();
        assert!(console.shows_login());
        console.begin_boot();
        assert!(!console.shows_login());
        assert!(console.tail().starts_with(b"old host"));
    }

    #[test]
    fn a_panic_is_told_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let console = Console::new(path.clone());
        fs_err::write(
            &path,
            "[    1.2] ok\n[    1.3] Kernel panic - not syncing: VFS: no root\n[    1.4] x\n",
        )
        .unwrap();
        let line = console.panic_line();
        assert_eq!(
            line.as_deref(),
            Some("Kernel panic - not syncing: VFS: no root")
        );
    }
}
