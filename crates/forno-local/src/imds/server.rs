//! The HTTP side of the metadata service: tokens first, then the tree.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use super::tokens::Tokens;
use super::tree::{self, Identity};
use crate::sessions::{Session, Sessions};
use crate::state::iam::Iam;
use crate::state::regions::Region;
use crate::state::store::Store;
use crate::state::world::{Instance, MetadataOptions};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// How long credentials of a role live, and how long before their end there are others.
const LIFE: SignedDuration = SignedDuration::from_hours(6);
const RENEWED: SignedDuration = SignedDuration::from_mins(30);

/// A machine's metadata service; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Machine {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    /// What its role gives it now.
    held: Mutex<Option<(String, Session)>>,
    region: String,
    instance: String,
    tokens: Tokens,
}

impl Server {
    /// Listens on a unix socket from now on.
    pub(crate) fn start(
        socket: &Path,
        store: Arc<Store>,
        sessions: Arc<Sessions>,
        region: &str,
        instance: &str,
    ) -> io::Result<Self> {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        let machine = Arc::new(Machine {
            store,
            sessions,
            held: Mutex::default(),
            region: region.to_owned(),
            instance: instance.to_owned(),
            tokens: Tokens::default(),
        });
        let app = Router::new().fallback(answer).with_state(machine);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "metadata service ended");
            }
        });
        Ok(Self(task.abort_handle()))
    }
}

async fn answer(
    State(machine): State<Arc<Machine>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    machine.answer(&method, uri.path(), &headers)
}

impl Machine {
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response {
        let Some(options) = self.options() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        if !options.enabled {
            return StatusCode::FORBIDDEN.into_response();
        }
        match *method {
            Method::PUT if path.trim_end_matches('/') == "/latest/api/token" => self.issue(headers),
            Method::GET | Method::HEAD => self.read(options, path, headers),
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    fn issue(&self, headers: &HeaderMap) -> Response {
        // Forwarded requests are how open proxies leak credentials.
        if headers.contains_key("x-forwarded-for") {
            return StatusCode::FORBIDDEN.into_response();
        }
        let Some(ttl) = headers.get(TTL).and_then(|ttl| ttl.to_str().ok()) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        match self.tokens.issue(ttl, Instant::now()) {
            Some(token) => ([(TTL, ttl.to_owned())], token).into_response(),
            None => StatusCode::BAD_REQUEST.into_response(),
        }
    }

    fn read(&self, options: MetadataOptions, path: &str, headers: &HeaderMap) -> Response {
        let allowed = match headers.get(TOKEN) {
            Some(token) => self.tokens.accept(token.as_bytes(), Instant::now()),
            None => !options.tokens_required,
        };
        if !allowed {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let found = self.store.read(|world| {
            let state = world.regions.get(&self.region)?;
            let instance = state.instances.get(&self.instance)?;
            let region = Region::find(&self.region)?;
            let identity = self.identity(&world.iam, instance);
            let public = tree::shows_public(instance);
            tree::look(path, region, state, instance, public, identity.as_ref())
        });
        match found {
            Some(bytes) => {
                let kind = if path.ends_with("user-data") {
                    "application/octet-stream"
                } else {
                    "text/plain"
                };
                ([(http::header::CONTENT_TYPE, kind)], bytes).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// What it is by its instance profile, where that was made here.
    fn identity(&self, iam: &Iam, instance: &Instance) -> Option<Identity> {
        let (profile, role) = iam.role_of(instance.profile.as_deref()?)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        let lives = |session: &Session| now + RENEWED < session.expires;
        let session = match held.as_ref() {
            Some((of, session)) if *of == role.name && lives(session) => session.clone(),
            _ => {
                let session = self.sessions.begin(&role.name, &instance.id, now + LIFE);
                *held = Some((role.name.clone(), session.clone()));
                session
            }
        };
        Some(Identity {
            profile_arn: profile.arn(),
            profile_id: profile.id(),
            role: role.name.clone(),
            updated: session.expires - LIFE,
            session,
        })
    }

    fn options(&self) -> Option<MetadataOptions> {
        self.store.read(|world| {
            Some(
                world
                    .regions
                    .get(&self.region)?
                    .instances
                    .get(&self.instance)?
                    .metadata,
            )
        })
    }
}
