//! What went wrong, where, and whether the call may have taken effect all the same.
//!
//! EC2 models no errors: everything is a code in a text. The code is sorted into a
//! [`Kind`] (see `codes.rs`) and kept. [`Outcome`] is what a saga must know: a call
//! that certainly did not happen needs no undoing; one whose reply was lost does.

use std::fmt;
use std::sync::Arc;

use crate::codes;

/// A failed call.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
    pub(crate) operation: &'static str,
    pub(crate) region: String,
    pub(crate) resource: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
    pub(crate) attempts: u32,
}

/// What sort of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No region, or settings that make no client.
    Settings,
    /// No credentials, or such as AWS does not know.
    Credentials,
    /// The credentials were good once.
    Expired,
    /// Known, but not allowed; or the account lacks something.
    Unauthorized,
    Throttled,
    NotFound,
    Duplicate,
    /// Something still uses it.
    DependencyViolation,
    /// The resource is in a state that does not admit the call.
    WrongState,
    /// EC2 has no such machine to give right now in that place.
    Capacity,
    /// The account may not have more of it.
    Quota,
    /// Something else goes on that must end first: snapshots of the same volume,
    /// tags of the same resource. Passes by itself.
    Busy,
    /// The client token was used before, with other parameters or a dead instance.
    TokenReused,
    InvalidInput,
    /// The endpoint does not know this action or option.
    Unsupported,
    /// The dry run says that the call would have succeeded.
    DryRun,
    /// The service failed (5xx).
    Server,
    /// No connection came about.
    Unreachable,
    /// Time-out, reset or an unreadable reply after the request was sent.
    Lost,
    Other,
}

impl Kind {
    /// Whether the same read may well succeed a moment later.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Server | Self::Unreachable | Self::Lost
        )
    }
}

/// What became of a failed call at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It certainly changed nothing.
    DidNotHappen,
    /// It may have taken effect: look before doing it again, and undo it too.
    Unknown,
}

impl Error {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// A problem found before anything was sent.
    pub(crate) fn local(
        kind: Kind,
        operation: &'static str,
        region: &str,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Inner {
            kind,
            outcome: Outcome::DidNotHappen,
            operation,
            region: region.to_owned(),
            resource: None,
            code: None,
            message: message.into(),
            request_id: None,
            attempts: 0,
        })
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The name of the API call, such as `RunInstances`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Empty when none was found.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    pub fn resource(&self) -> Option<&str> {
        self.0.resource.as_deref()
    }

    /// The code of the service, such as `InvalidAMIID.NotFound`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What the service (or the network) said.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How many attempts were made, 0 where nothing was sent or nobody counted.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// What to do about it, for the line `hint: …`.
    pub fn hint(&self) -> Option<String> {
        codes::hint(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            operation,
            region,
            resource,
            code,
            message,
            request_id,
            attempts,
            ..
        } = self.0.as_ref();
        f.write_str(operation)?;
        if let Some(resource) = resource {
            write!(f, " of {resource}")?;
        }
        if !region.is_empty() {
            write!(f, " in {region}")?;
        }
        f.write_str(" failed")?;
        if *attempts > 1 {
            write!(f, " after {attempts} attempts")?;
        }
        if let Some(code) = code {
            write!(f, ": {code}")?;
        }
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        if let Some(id) = request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{:?}, {:?}]", self.0.kind, self.0.outcome)
    }
}

impl std::error::Error for Error {}
