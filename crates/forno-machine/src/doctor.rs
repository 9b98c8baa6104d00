//! What this computer can run, why not, and what to install.

use std::path::Path;

use crate::Kind;

/// The finding about every kind.
#[derive(Debug, Clone)]
pub struct Report {
    /// One finding per kind, in the order of [`Kind::ALL`].
    pub kinds: Vec<Finding>,
    /// What `auto` picks; none when nothing real is usable (a stub is never
    /// picked by itself).
    pub choice: Option<Kind>,
    /// Why it picks that.
    pub reason: String,
    /// How a virtual machine would run.
    pub kvm: Kvm,
}

/// The finding about one kind.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// Whether machines of this kind can be started here.
    pub usable: bool,
    /// Whole sentences' worth of remarks: what is missing, what to expect.
    pub notes: Vec<String>,
    /// Debian packages that would make it usable.
    pub packages: Vec<String>,
}

impl Finding {
    /// The command that installs what is missing; none when nothing is.
    pub fn install_command(&self) -> Option<String> {
        todo!()
    }
}

/// What is known about hardware virtualisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kvm {
    /// A guest was seen to run under it since this computer started.
    Proven,
    /// It looks right but no guest has run under it yet; the first one will tell.
    Likely,
    /// It opens but cannot be trusted, and why.
    Broken(String),
    /// It is not there or closed to this user, and why.
    Absent(String),
}

impl Report {
    /// The finding about one kind.
    pub fn finding(&self, kind: Kind) -> &Finding {
        let _ = kind;
        todo!()
    }
}

/// Looks at this computer. Cheap (some milliseconds), starts nothing.
/// `cache_dir` is where hosts remember what was proven.
pub fn examine(cache_dir: &Path) -> Report {
    let _ = cache_dir;
    todo!()
}
