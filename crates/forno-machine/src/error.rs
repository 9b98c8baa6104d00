//! The one error of this crate: what failed, of which sort, and what to do.
//!
//! The sort lets a caller choose a reaction (a missing tool is told to a
//! person, a full loop device table may be tried again); the text names what
//! and where; the hint, where there is one, belongs on a line of its own.

use std::error::Error as StdError;
use std::path::Path;

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The specification or configuration cannot be carried out by anybody.
    Invalid,
    /// A program or package is missing on this computer.
    MissingTool,
    /// This computer cannot run machines of the kind asked for.
    Unusable,
    /// A file or folder could not be read or written.
    Io,
    /// A disk is not of the shape this crate understands, or is in use.
    Disk,
    /// An address or port is taken, or the shared network could not be made.
    Network,
    /// Nothing listens on the port of a machine that was asked for.
    Refused,
    /// A program that was started failed.
    Command,
    /// The guardian is gone; all machines of this host died with it.
    Guardian,
    /// The source disk could not be made.
    Source,
    /// Something did not happen within its time.
    TimedOut,
    /// The caller cancelled.
    Cancelled,
}

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            hint: None,
            source: None,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{}: {source}", what.into())).caused_by(source)
    }

    pub(crate) fn file(verb: &str, path: &Path, source: std::io::Error) -> Self {
        Self::io(format!("cannot {verb} {}", path.display()), source)
    }

    pub(crate) fn cancelled(what: &str) -> Self {
        Self::new(ErrorKind::Cancelled, format!("{what} was cancelled"))
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The sort of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What a person can do about it, without a leading `hint:`.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
