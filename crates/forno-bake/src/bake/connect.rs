//! Phase 4: reached, recognised by its pinned host key, and ready for work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_events::{Event, Severity, StepId};
use forno_guest::{Guest, ReadyOptions};
use forno_link::{AgentSocket, Auth, Link as _, SshLink, SshTarget, Watch};

use futures::future::BoxFuture;

use super::context::{Context, lock};
use super::guest_steps::of_step;
use super::key_pair::Key;
use super::lifeline::Lifeline;
use super::machine::{Running, gone, gone_after_all};
use crate::journal::millis;
use crate::{Connection, Error, ErrorKind, folder};

/// A machine at the end of a link.
pub(crate) struct Connected {
    pub(super) machine: Running,
    pub(super) guest: Guest,
    pub(super) link: Arc<SshLink>,
    /// Keeps the machine from ending itself, as long as this lives.
    pub(super) lifeline: Lifeline,
    /// Signs for Ansible and for `forno shell`, as long as this lives.
    pub(super) _agent: AgentSocket,
}

pub(super) async fn connect(
    ctx: &Context,
    step: &StepId,
    machine: Running,
    key: &Key,
) -> Result<Arc<Connected>, Error> {
    ctx.step(step, async {
        let agent = AgentSocket::at(
            &ctx.folder.join(format!("{step}.agent")),
            Arc::clone(&key.identity),
        )
        .map_err(Error::io("start the agent for the key"))?;
        let link =
            Arc::new(raced(ctx, step, &machine, reach(ctx, step, &machine, key, &agent)).await?);
        let lifeline = Lifeline::start(ctx, &link);
        remember(ctx, &machine, &agent)?;
        let guest = Guest::new(Arc::clone(&link) as Arc<dyn forno_link::Link>);
        // It was ready once; what has begun on it since need not be waited for.
        if !ctx.has_passed(step, &machine.effect) {
            let ready = raced(ctx, step, &machine, wait_ready(ctx, step, &guest)).await;
            if let Err(error) = ready {
                link.close().await;
                return Err(error);
            }
            ctx.pass(step, &machine.effect).await?;
        }
        let connected = Arc::new(Connected {
            machine,
            guest,
            link,
            lifeline,
            _agent: agent,
        });
        ctx.set_machine(Some(Arc::clone(&connected)));
        Ok(connected)
    })
    .await
}

/// Work on a machine, ended when the machine goes away.
pub(super) fn raced<'a, T: Send + 'a>(
    ctx: &'a Context,
    step: &'a StepId,
    machine: &'a Running,
    work: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(async move {
        let result = tokio::select! {
            result = work => result,
            error = gone(ctx, step, &machine.id) => return Err(error),
        };
        match result {
            Err(error) if matches!(error.kind, ErrorKind::Connect(_)) => {
                let after_all = gone_after_all(ctx, step, &machine.id, true).await;
                Err(after_all.unwrap_or(error))
            }
            other => other,
        }
    })
}

async fn reach(
    ctx: &Context,
    step: &StepId,
    machine: &Running,
    key: &Key,
    agent: &AgentSocket,
) -> Result<SshLink, Error> {
    let mut target = SshTarget::new(
        machine.address,
        ctx.prepared.recipe.builder.user.clone(),
        machine.host_key.clone(),
        Auth::Identity(Arc::clone(&key.identity)),
    );
    target.agent_socket = Some(agent.path().to_owned());
    let emitter = ctx.emitter.clone();
    let shown = step.clone();
    let beat = ctx.settings.heartbeat;
    let heard_last = Mutex::new((Duration::ZERO, String::new()));
    let watch = Watch::new(move |attempt| {
        // There are two attempts a second; news and heartbeats are told.
        let state = attempt.problem.to_string();
        let mut last = lock(&heard_last);
        if last.1 == state && attempt.waited.saturating_sub(last.0) < beat {
            return;
        }
        *last = (attempt.waited, state.clone());
        emitter.emit(Event::Waiting {
            step: shown.clone(),
            what: "SSH to answer".to_owned(),
            resource: Some(attempt.peer.to_owned()),
            state,
            waited_ms: millis(attempt.waited),
            deadline_ms: millis(attempt.within),
        });
    });
    let within = ctx.prepared.recipe.builder.timeouts.connect.get();
    match forno_link::connect(target, within, &watch, &ctx.cancel).await {
        Ok(link) => Ok(link),
        Err(error) if error.is_cancelled() => Err(Error::cancelled(error.to_string())),
        Err(error) => {
            ctx.show_console(step, &machine.id).await;
            let hint = error.hint();
            let error = Error::new(ErrorKind::Connect(error.to_string()));
            Err(match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            })
        }
    }
}

async fn wait_ready(ctx: &Context, step: &StepId, guest: &Guest) -> Result<(), Error> {
    let options = ReadyOptions {
        within: ctx.prepared.recipe.builder.timeouts.ready.get(),
        ..ReadyOptions::default()
    };
    let report = guest
        .wait_ready(&options, &ctx.guest(step))
        .await
        .map_err(|error| of_step(&error, ErrorKind::Connect))?;
    for warning in report.warnings {
        ctx.note(Severity::Warning, warning);
    }
    Ok(())
}

/// For `forno shell` in another process.
fn remember(ctx: &Context, machine: &Running, agent: &AgentSocket) -> Result<(), Error> {
    let connection = Connection {
        instance_id: machine.id.to_string(),
        address: machine.address.ip().to_string(),
        port: machine.address.port(),
        user: ctx.prepared.recipe.builder.user.clone(),
        host_key: machine.host_key.line(),
        agent_socket: Some(agent.path().to_owned()),
    };
    folder::write_json(&folder::connection(&ctx.folder), &connection)
        .map_err(Error::io("write how to reach the machine"))
}

/// There is no machine to reach any more.
pub(super) fn forget(ctx: &Context) {
    ctx.set_machine(None);
    // Missing is what it shall be.
    let _ = fs_err::remove_file(folder::connection(&ctx.folder));
}
