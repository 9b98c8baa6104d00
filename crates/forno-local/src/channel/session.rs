//! The sessions that there are and were. None outlives its endpoint, as no
//! machine does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forno_machine::Machine;
use jiff::Timestamp;
use rand::RngCore as _;
use subtle::ConstantTimeEq as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::driver::{Arrived, Conduct, Driver};
use crate::fleet::Agent;
use crate::service::Service;

/// How many sessions that have ended are remembered.
const MOST_ENDED: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: Mutex<BTreeMap<String, Arc<Session>>>,
}

/// What a session carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One connection to this port of the machine's loopback.
    Port(u16),
    /// A terminal with a shell.
    Shell,
    /// A terminal with this command line.
    Command(String),
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) region: &'static str,
    pub(crate) target: String,
    pub(crate) document: String,
    pub(super) purpose: Purpose,
    pub(crate) reason: Option<String>,
    pub(crate) started: Timestamp,
    state: Mutex<State>,
    /// Asks it to end.
    pub(super) ending: CancellationToken,
    arrivals: mpsc::Sender<Box<Arrived>>,
}

#[derive(Debug)]
struct State {
    /// Lets one client in, once.
    token: Option<String>,
    status: SessionStatus,
    ended: Option<Timestamp>,
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionStatus {
    Connecting,
    Connected,
    Disconnected,
    Terminated,
    Failed,
}

/// What a session is asked for with.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) region: &'static str,
    pub(crate) target: String,
    pub(crate) document: String,
    pub(crate) purpose: Purpose,
    pub(crate) reason: Option<String>,
}

impl SessionStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Disconnected => "Disconnected",
            Self::Terminated => "Terminated",
            Self::Failed => "Failed",
        }
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed)
    }
}

impl Sessions {
    /// Begins a session; returns it with the token of its first connection.
    pub(crate) fn start(
        &self,
        service: &Arc<Service>,
        wanted: Wanted,
        (machine, presence): (Machine, watch::Receiver<Agent>),
        conduct: Conduct,
    ) -> (Arc<Session>, String) {
        let (arrivals, arriving) = mpsc::channel(1);
        let token = fresh_token();
        let session = Arc::new(Session {
            id: fresh_id(),
            region: wanted.region,
            target: wanted.target,
            document: wanted.document,
            purpose: wanted.purpose,
            reason: wanted.reason,
            started: Timestamp::now(),
            state: Mutex::new(State {
                token: Some(token.clone()),
                status: SessionStatus::Connecting,
                ended: None,
            }),
            ending: service.ending.child_token(),
            arrivals,
        });
        let mut all = self.lock();
        all.insert(session.id.clone(), Arc::clone(&session));
        forget_old(&mut all);
        drop(all);
        let driver = Driver::new(Arc::clone(&session), machine, presence, conduct, arriving);
        service.fleet.tasks.spawn(driver.run());
        (session, token)
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    /// All of a region, newest first.
    pub(crate) fn of_region(&self, region: &str) -> Vec<Arc<Session>> {
        let all = self.lock();
        let here = all.values().filter(|session| session.region == region);
        let mut found: Vec<_> = here.cloned().collect();
        found.sort_by_cached_key(|session| session.newest_first());
        found
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What lets a client in: the next connection, and only that.
    pub(crate) fn renew_token(&self) -> Option<String> {
        let mut state = self.lock();
        if state.status.is_over() {
            return None;
        }
        let token = fresh_token();
        state.token = Some(token.clone());
        Some(token)
    }

    /// Whether a token lets in; it does so once.
    pub(super) fn admit(&self, token: &str) -> bool {
        let mut state = self.lock();
        let right = state
            .token
            .as_ref()
            .is_some_and(|known| bool::from(known.as_bytes().ct_eq(token.as_bytes())));
        if right {
            state.token = None;
        }
        right && !state.status.is_over()
    }

    /// Hands a client over to the session; the one before it is sent away.
    pub(super) async fn arrived(&self, arrived: Arrived) {
        // A session that has ended takes nobody in.
        let _ = self.arrivals.send(Box::new(arrived)).await;
    }

    pub(crate) fn terminate(&self) {
        self.ending.cancel();
        self.enter(SessionStatus::Terminated);
    }

    pub(super) fn enter(&self, status: SessionStatus) {
        let mut state = self.lock();
        if state.status.is_over() {
            return;
        }
        state.status = status;
        if status.is_over() {
            state.ended = Some(Timestamp::now());
            state.token = None;
        }
    }

    /// A text by which sessions sort.
    pub(crate) fn newest_first(&self) -> String {
        let age = i64::MAX - self.started.as_microsecond();
        format!("{age:020} {}", self.id)
    }

    /// Its status, and when it ended.
    pub(crate) fn status(&self) -> (SessionStatus, Option<Timestamp>) {
        let state = self.lock();
        (state.status, state.ended)
    }

    /// What plans of faults see of a connection to it.
    pub(super) fn parameters(&self) -> BTreeMap<String, String> {
        let parameter = match &self.purpose {
            Purpose::Port(port) => Some(("portNumber", port.to_string())),
            Purpose::Command(command) => Some(("command", command.clone())),
            Purpose::Shell => None,
        };
        [
            ("SessionId", self.id.clone()),
            ("Target", self.target.clone()),
            ("DocumentName", self.document.clone()),
        ]
        .into_iter()
        .chain(parameter)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_old(all: &mut BTreeMap<String, Arc<Session>>) {
    let mut ended: Vec<_> = all
        .values()
        .filter_map(|session| Some((session.status().1?, session.id.clone())))
        .collect();
    if ended.len() > MOST_ENDED {
        ended.sort();
        for (_, id) in &ended[..ended.len() - MOST_ENDED] {
            all.remove(id);
        }
    }
}

/// The user's name and seventeen digits.
fn fresh_id() -> String {
    let mut bytes = [0_u8; 9];
    rand::rng().fill_bytes(&mut bytes);
    format!("forno-0{}", &hex::encode(bytes)[..16])
}

fn fresh_token() -> String {
    let mut bytes = [0_u8; 96];
    rand::rng().fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}
