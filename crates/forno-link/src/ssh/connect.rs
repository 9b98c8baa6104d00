//! From a way to a machine to a link, patiently: a machine that comes up refuses,
//! resets and hangs before it answers, and each attempt is shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::algorithms::Algorithms;
use super::dial::Dial;
use super::link::SshLink;
use super::session::Session;
use crate::attempts::{Attempts, Watch};
use crate::{Error, ErrorKind, HostKey, Identity};

/// Which machine, as whom.
#[derive(Clone, Debug)]
pub struct SshTarget {
    pub dial: Dial,
    pub user: String,
    /// The only key that the machine may show.
    pub host_key: HostKey,
    pub auth: Auth,
    /// The agent that foreign clients (Ansible) may use, if one was made.
    pub agent_socket: Option<PathBuf>,
    pub algorithms: Algorithms,
    pub timing: Timing,
}

impl SshTarget {
    pub fn new(
        dial: impl Into<Dial>,
        user: impl Into<String>,
        host_key: HostKey,
        auth: Auth,
    ) -> Self {
        let dial = dial.into();
        let timing = match &dial {
            Dial::Tcp(_) => Timing::default(),
            // A program that fails does so after a second or two.
            Dial::Proxy(_) => Timing {
                pause: Duration::from_secs(2),
                ..Timing::default()
            },
            Dial::Session(_) => Timing::of_sessions(),
        };
        Self {
            dial,
            user: user.into(),
            host_key,
            auth,
            agent_socket: None,
            algorithms: Algorithms::default(),
            timing,
        }
    }

    pub(crate) fn peer(&self) -> String {
        format!("{}@{}", self.user, self.dial)
    }
}

/// What to log in with.
#[derive(Clone, Debug)]
pub enum Auth {
    Identity(Arc<Identity>),
    /// The first key of the agent at this socket (or at the link to it that
    /// [`crate::AgentSocket`] leaves).
    Agent(PathBuf),
}

/// Deadlines of one attempt and pauses between attempts.
#[derive(Clone, Debug)]
pub struct Timing {
    pub dial: Duration,
    /// From the connection to the end of the key exchange. Long, because a
    /// machine's forwarded port accepts before its sshd runs, and because
    /// hanging up and dialling again would make it worse.
    pub handshake: Duration,
    pub auth: Duration,
    /// For opening a channel on a live connection.
    pub open: Duration,
    pub pause: Duration,
    /// How long a refused key is tried again: cloud-init may be about to put it
    /// in place, or the system still refuses all logins while it boots.
    pub auth_patience: Duration,
    pub auth_pause: Duration,
    /// Between signs of life on an idle connection; default 15 s.
    pub keepalive: Option<Duration>,
    /// So many of them without an answer end it.
    pub unanswered: usize,
}

impl Timing {
    /// Sessions take seconds to start, carry at most a megabyte a second, and are
    /// looked for again for minutes when their connection is lost. They end after
    /// some minutes without a byte, at the earliest after one.
    pub fn of_sessions() -> Self {
        Self {
            dial: Duration::from_secs(90),
            handshake: Duration::from_mins(2),
            auth: Duration::from_mins(1),
            open: Duration::from_mins(1),
            pause: Duration::from_secs(2),
            keepalive: Some(Duration::from_secs(30)),
            unanswered: 12,
            ..Self::default()
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(10),
            handshake: Duration::from_mins(1),
            auth: Duration::from_secs(30),
            open: Duration::from_secs(30),
            pause: Duration::from_millis(500),
            auth_patience: Duration::from_mins(1),
            auth_pause: Duration::from_secs(3),
            keepalive: None,
            unanswered: 3,
        }
    }
}

/// Connects to a machine, trying until `within` is over.
pub async fn connect(
    target: SshTarget,
    within: Duration,
    watch: &Watch,
    cancel: &CancellationToken,
) -> Result<SshLink, Error> {
    let session = establish(&target, within, watch, cancel).await?;
    Ok(SshLink::new(target, session))
}

pub(super) async fn establish(
    target: &SshTarget,
    within: Duration,
    watch: &Watch,
    cancel: &CancellationToken,
) -> Result<Session, Error> {
    let timing = &target.timing;
    let mut denied_since = None;
    let attempts = Attempts {
        peer: target.peer(),
        within,
        watch,
        cancel,
    };
    attempts
        .until(
            || Session::open(target),
            || ErrorKind::Handshake("no answer".into()),
            |problem| {
                if matches!(problem, ErrorKind::AuthFailed { .. }) {
                    let since = *denied_since.get_or_insert_with(Instant::now);
                    return (since.elapsed() < timing.auth_patience).then_some(timing.auth_pause);
                }
                problem.may_pass().then_some(timing.pause)
            },
        )
        .await
}
