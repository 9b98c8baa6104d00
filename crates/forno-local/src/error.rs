//! Why an endpoint could not start or had to give up. Errors that a client of
//! the endpoint sees are another thing: those are EC2's and live in `api`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Start-up and state failures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the state folder.
    #[error("state folder {} is in use by process {pid}{}", .folder.display(), serving(.url.as_deref()))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The holder.
        pid: u32,
        /// Its endpoint when it serves other clients.
        url: Option<String>,
    },
    /// A file or folder could not be read or written.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried, such as "create state folder".
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the state folder is not what this version writes.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that people write, such as a plan of faults, is not as expected.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Written {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// Where in the line, from 1, in characters.
        column: usize,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Only loopback addresses are served.
    #[error("{address} is not a loopback address; the pocket EC2 serves this machine only")]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The region is none of those the endpoint knows.
    #[error("unknown region `{region}`")]
    UnknownRegion {
        /// What was asked for.
        region: String,
        /// Those that would do.
        known: Vec<&'static str>,
    },
    /// No machine can be run here, or the source image cannot be made.
    #[error("{what}")]
    Machine {
        /// What was tried, such as "make the Debian source image".
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<forno_machine::Error>,
    },
    /// The folder's images are of the other sort.
    #[error("{} holds images that are no {wanted}", .folder.display())]
    OtherDisks {
        /// The folder.
        folder: PathBuf,
        /// What the chosen kind of machine needs.
        wanted: &'static str,
    },
}

fn serving(url: Option<&str>) -> String {
    url.map_or_else(String::new, |url| format!(", which serves {url}"))
}

impl Error {
    pub(crate) fn machine(what: &'static str, source: forno_machine::Error) -> Self {
        Self::Machine {
            what,
            source: Box::new(source),
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { url: Some(url), .. } => Some(format!(
                "use that endpoint (`--endpoint-url {url}`), stop it, or choose another state folder"
            )),
            Self::InUse { url: None, .. } => {
                Some("wait for it to end, or choose another state folder".to_owned())
            }
            Self::UnknownRegion { known, .. } => Some(format!("one of {}", known.join(", "))),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("choose another port, or none for a free one".to_owned())
            }
            Self::Machine { source, .. } => source.hint().map(str::to_owned),
            Self::OtherDisks { .. } => {
                Some("choose another state folder for this kind of machine".to_owned())
            }
            _ => None,
        }
    }
}

/// An error with all of its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
