//! Why a link failed.
//!
//! One error type with a kind, because callers act on the kind: a refused
//! connection is tried again, a wrong host key never is, a lost connection may
//! be a reboot.

use std::fmt;
use std::time::Duration;

use crate::ssm::{Refusal, RefusalKind};

/// A failure of a link, with the machine it happened to.
#[derive(Debug)]
pub struct Error {
    /// `user@address:port`, or `user@i-…` where there is no address.
    pub peer: String,
    pub kind: ErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    #[error("connection refused: nothing listens on that port")]
    Refused,
    #[error("no route to the machine: {0}")]
    Unreachable(std::io::Error),
    #[error("no answer within {}", seconds(.0))]
    ConnectTimedOut(Duration),
    #[error("the connection was closed before the SSH handshake was over: {0}")]
    Handshake(String),
    /// A configuration on either side: trying again is of no use.
    #[error("no {what} that both sides know: forno offers {ours}, the machine {theirs}")]
    NoCommonAlgorithm {
        what: &'static str,
        ours: String,
        theirs: String,
    },
    /// What a proxy command said before the connection was over.
    #[error("`{program}` says: {said}")]
    Proxy {
        program: String,
        said: String,
        /// Trying again is of no use.
        is_final: bool,
    },
    #[error("the host key is {found}, expected {expected}")]
    HostKeyMismatch { expected: String, found: String },
    #[error("user `{user}` is not let in with the key {key} (server accepts: {methods})")]
    AuthFailed {
        user: String,
        key: String,
        methods: String,
    },
    #[error("the agent cannot sign: {0}")]
    Agent(String),
    #[error("gave up after {} and {attempts} attempts; last: {last}", seconds(.waited))]
    GaveUp {
        waited: Duration,
        attempts: u32,
        last: Box<ErrorKind>,
    },
    #[error("connection lost: {0}")]
    Lost(String),
    #[error("cancelled")]
    Cancelled,
    #[error("not done within {}", seconds(.0))]
    TimedOut(Duration),
    #[error("no byte moved for {}", seconds(.0))]
    Stalled(Duration),
    #[error("the server refused to {0}")]
    Denied(String),
    #[error("the command line is {0} bytes long, at most {max} can be passed", max = crate::remote::MAX_COMMAND)]
    CommandTooLong(usize),
    #[error("{what}: {error}")]
    Local { what: String, error: std::io::Error },
    /// A helper command on the machine failed, such as the unpacking of a folder.
    #[error("cannot {what}: {detail}")]
    Remote { what: String, detail: String },
    #[error("{what} arrived damaged: sha256 is {found}, expected {expected}")]
    Damaged {
        what: String,
        expected: String,
        found: String,
    },
    /// The agent of Systems Manager does not answer, or there is none.
    #[error("not reachable through Systems Manager: {0}")]
    NotConnected(String),
    /// The session that was to carry the connection.
    #[error("the session's data channel failed: {0}")]
    Channel(String),
    #[error("the session is encrypted by KMS: {0}")]
    Encryption(String),
    /// Systems Manager said no.
    #[error("{0}")]
    Systems(Refusal),
    #[error("the machine has no user `{0}`")]
    NoUser(String),
    #[error("{0} cannot be passed without a bucket")]
    NeedsStore(&'static str),
    #[error("{0} is not possible over this link")]
    Unsupported(&'static str),
}

impl From<Refusal> for ErrorKind {
    fn from(refusal: Refusal) -> Self {
        match refusal.kind {
            RefusalKind::NotConnected => Self::NotConnected(refusal.message),
            _ => Self::Systems(refusal),
        }
    }
}

pub(crate) fn seconds(duration: &Duration) -> String {
    if duration.as_secs() >= 1 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

impl Error {
    pub fn new(peer: impl Into<String>, kind: ErrorKind) -> Self {
        Self {
            peer: peer.into(),
            kind,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        self.kind.hint()
    }

    /// The connection is gone; what ran on it may or may not still run.
    pub fn is_lost(&self) -> bool {
        matches!(self.kind, ErrorKind::Lost(_))
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, ErrorKind::Cancelled)
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, ErrorKind::TimedOut(_) | ErrorKind::Stalled(_))
    }
}

impl ErrorKind {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::GaveUp { last, .. } => last.hint(),
            Self::Refused => Some(
                "sshd is not running yet, listens elsewhere, or failed to start: look at the machine's console".into(),
            ),
            Self::Unreachable(_) | Self::ConnectTimedOut(_) => Some(
                "check the security group's ingress rule, the subnet's route and that the machine is running".into(),
            ),
            Self::HostKeyMismatch { .. } => Some(
                "another machine answers at this address, or user data was not applied: nothing was sent to it".into(),
            ),
            Self::NoCommonAlgorithm { .. } => Some(
                "`[builder.ssh]` of the recipe says what forno offers (`ciphers`, `key_exchanges`), sshd_config of the image what the machine does".into(),
            ),
            Self::Proxy { is_final: true, .. } => Some(
                "it must connect without asking anybody anything: try it by hand with `-o BatchMode=yes`, as the user that runs forno".into(),
            ),
            Self::AuthFailed { user, .. } => Some(format!(
                "is `{user}` the image's own user (Debian: admin, Ubuntu: ubuntu, Amazon Linux: ec2-user), and does cloud-init put the key pair's key in place?"
            )),
            Self::NotConnected(_) => Some(format!(
                "usually one of these is missing: {}",
                crate::ssm::NEEDS.join("; ")
            )),
            Self::Channel(_) => Some(
                "sessions are carried by ssmmessages.REGION.amazonaws.com, port 443: is it reached from here, and by the machine's agent?".into(),
            ),
            Self::Encryption(_) => Some(
                "the key is in Systems Manager's Session Manager preferences of this account and region".into(),
            ),
            Self::Systems(refusal) if refusal.kind == RefusalKind::Denied => Some(
                "what a link over Systems Manager may have to call is listed in docs/GUIDE.md, \"A machine without an open port\"; sessions need ssm:StartSession (on the instance and the document AWS-StartSSHSession), ssm:ResumeSession, ssm:TerminateSession and ssmmessages:OpenDataChannel".into(),
            ),
            Self::NoUser(_) => Some(
                "the image's own user is Debian: admin, Ubuntu: ubuntu, Amazon Linux: ec2-user; root is everywhere".into(),
            ),
            Self::NeedsStore(_) => Some(
                "set `[builder.ssm] bucket`: what Run Command itself is given stays readable in its history and in CloudTrail, and is slow".into(),
            ),
            _ => None,
        }
    }

    /// Whether the next attempt to connect may find it otherwise, as a machine
    /// comes up: also a refused key, for the time that cloud-init needs to put
    /// it in place. A wrong host key stays wrong.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Unreachable(_)
                | Self::ConnectTimedOut(_)
                | Self::Handshake(_)
                | Self::Lost(_)
                | Self::AuthFailed { .. }
                | Self::NotConnected(_)
                | Self::Channel(_)
                | Self::Proxy {
                    is_final: false,
                    ..
                }
        ) || matches!(self, Self::Systems(refusal) if refusal.kind == RefusalKind::Unreachable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            // Nothing about the machine.
            ErrorKind::Local { .. } => self.kind.fmt(f),
            kind => write!(f, "{}: {kind}", self.peer),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Local { error, .. } | ErrorKind::Unreachable(error) => Some(error),
            _ => None,
        }
    }
}
