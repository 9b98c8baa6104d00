//! Why a channel ended.

use crate::ErrorKind;

/// Everything that arrived before it can still be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection on the machine was closed, as connections are.
    Closed,
    /// Nothing listens on that port of the machine.
    Refused,
    /// The service or the agent ended the session, and said why.
    Ended(String),
    /// The session is to be encrypted by KMS and cannot be.
    Encryption(String),
    /// Nobody understood the other, or the way was lost for too long.
    Failed(String),
}

impl End {
    /// What it is to somebody who was not done.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::Channel("closed by the machine".into()),
            Self::Refused => ErrorKind::Refused,
            Self::Ended(why) => ErrorKind::Channel(format!("the session was ended: {why}")),
            Self::Encryption(why) => ErrorKind::Encryption(why.clone()),
            Self::Failed(why) => ErrorKind::Channel(why.clone()),
        }
    }

    pub(super) fn io_error(&self) -> std::io::Error {
        let kind = match self {
            Self::Refused => std::io::ErrorKind::ConnectionRefused,
            Self::Closed => std::io::ErrorKind::BrokenPipe,
            Self::Ended(_) | Self::Encryption(_) | Self::Failed(_) => {
                std::io::ErrorKind::ConnectionReset
            }
        };
        std::io::Error::new(kind, self.kind().to_string())
    }
}
