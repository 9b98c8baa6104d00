//! Phase 4: reached, known to be the machine that was meant, and ready for work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forno_events::{Event, Severity, StepId};
use forno_guest::{Guest, ReadyOptions};
use forno_link::ssm::{self, InstancePort, SsmTarget, Store};
use forno_link::{
    AgentSocket, Algorithms, Auth, Dial, HostKey, Link, ProxyCommand, SshTarget, Watch,
};
use forno_recipe::SshOptions;
use futures::future::BoxFuture;

use super::bucket::BucketPlace;
use super::context::{Context, lock};
use super::door::Door;
use super::guest_steps::of_step;
use super::key_pair::Key;
use super::lifeline::Lifeline;
use super::machine::{Running, gone, gone_after_all};
use super::systems::BucketStore;
use crate::connection::{ConnectionWay, SshWay};
use crate::journal::millis;
use crate::{Connection, Error, ErrorKind, folder, plan};

/// Where sshd listens inside a machine.
const SSH: u16 = 22;

/// A machine at the end of a link.
pub(crate) struct Connected {
    pub(super) machine: Running,
    pub(super) guest: Guest,
    pub(super) link: Arc<dyn Link>,
    /// Keeps the machine from ending itself, as long as this lives.
    pub(super) lifeline: Lifeline,
    /// Signs for Ansible and for `forno shell`, as long as this lives.
    pub(super) _agent: Option<AgentSocket>,
}

/// A link, and what another process reaches the same machine by.
struct Reached {
    link: Arc<dyn Link>,
    way: Option<ConnectionWay>,
    agent: Option<AgentSocket>,
}

pub(super) async fn connect(
    ctx: &Context,
    step: &StepId,
    machine: Running,
    door: &Door,
) -> Result<Arc<Connected>, Error> {
    ctx.step(step, async {
        let Reached { link, way, agent } =
            raced(ctx, step, &machine, reach(ctx, step, &machine, door)).await?;
        let lifeline = Lifeline::start(ctx, &link);
        remember(ctx, &machine, way)?;
        let guest = Guest::new(Arc::clone(&link));
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
    door: &Door,
) -> Result<Reached, Error> {
    let reached = match door {
        Door::Address(key) => match machine.address {
            Some(address) => {
                let dial = match &ctx.prepared.recipe.builder.proxy_command {
                    None => address.into(),
                    Some(words) => ProxyCommand::new(words, address).into(),
                };
                by_ssh(ctx, step, machine, key, dial).await
            }
            None => Err(no(machine, "has no address")),
        },
        Door::Session(key) => {
            let systems = Arc::clone(&ctx.cloud.systems);
            let port = InstancePort::new(systems, machine.id.as_str(), SSH);
            by_ssh(ctx, step, machine, key, port.into()).await
        }
        Door::Agent => by_agent(ctx, step, machine).await,
    };
    let error = match reached {
        Ok(reached) => return Ok(reached),
        Err(Trouble::Ours(error)) => return Err(error),
        Err(Trouble::Link(error)) if error.is_cancelled() => {
            return Err(Error::cancelled(error.to_string()));
        }
        Err(Trouble::Link(error)) => error,
    };
    ctx.show_console(step, &machine.id).await;
    let mut hints: Vec<String> = error.hint().into_iter().collect();
    if ctx.prepared.connect.needs_agent() {
        hints.extend(plan::unmanaged(&ctx.gateway, &ctx.prepared.recipe).await);
    }
    let error = Error::new(ErrorKind::Connect(error.to_string()));
    Err(if hints.is_empty() {
        error
    } else {
        error.with_hint(hints.join("; "))
    })
}

enum Trouble {
    Ours(Error),
    Link(forno_link::Error),
}

impl From<forno_link::Error> for Trouble {
    fn from(error: forno_link::Error) -> Self {
        Self::Link(error)
    }
}

/// With an agent that Ansible and `forno shell` sign by.
async fn by_ssh(
    ctx: &Context,
    step: &StepId,
    machine: &Running,
    key: &Key,
    dial: Dial,
) -> Result<Reached, Trouble> {
    let agent = AgentSocket::at(
        &ctx.folder.join(format!("{step}.agent")),
        Arc::clone(&key.identity),
    )
    .map_err(|error| Trouble::Ours(Error::io("start the agent for the key")(error)))?;
    let mut target = SshTarget::new(
        dial,
        ctx.prepared.recipe.builder.user.clone(),
        host_key(machine)?,
        Auth::Identity(Arc::clone(&key.identity)),
    );
    target.agent_socket = Some(agent.path().to_owned());
    target.algorithms = algorithms(&ctx.prepared.recipe.builder.ssh)?;
    let watch = watch(ctx, step, "SSH to answer");
    let link = forno_link::connect(target, within(ctx), &watch, &ctx.cancel).await?;
    let way = link.ssh_access().map(|access| {
        ConnectionWay::Ssh(SshWay {
            address: access.address.ip().to_string(),
            port: access.address.port(),
            host_key: access.host_key.line(),
            agent_socket: access.agent_socket,
            options: access.options,
        })
    });
    Ok(Reached {
        link: Arc::new(link),
        way,
        agent: Some(agent),
    })
}

async fn by_agent(ctx: &Context, step: &StepId, machine: &Running) -> Result<Reached, Trouble> {
    let place = BucketPlace::of(&ctx.prepared);
    let store = place
        .clone()
        .map(|place| Arc::new(BucketStore::new(ctx.gateway.clone(), place)) as Arc<dyn Store>);
    let target = SsmTarget::new(
        machine.id.as_str(),
        ctx.prepared.recipe.builder.user.clone(),
        ctx.cloud.commands.clone(),
        store,
    );
    let watch = watch(ctx, step, "the SSM agent");
    let link = ssm::connect(target, within(ctx), &watch, &ctx.cancel).await?;
    Ok(Reached {
        link: Arc::new(link),
        way: Some(ConnectionWay::Ssm { bucket: place }),
        agent: None,
    })
}

fn algorithms(ssh: &SshOptions) -> Result<Algorithms, Trouble> {
    let ciphers: Vec<&str> = ssh.ciphers.iter().map(|one| one.as_str()).collect();
    let methods: Vec<&str> = ssh.key_exchanges.iter().map(|one| one.as_str()).collect();
    Algorithms::only(&ciphers, &methods).map_err(|name| {
        let text = format!("`{name}` is no algorithm that forno knows");
        Trouble::Ours(Error::new(ErrorKind::Connect(text)))
    })
}

fn host_key(machine: &Running) -> Result<HostKey, Trouble> {
    let key = machine.host_key.clone();
    key.ok_or_else(|| no(machine, "was told no host key"))
}

fn no(machine: &Running, why: &str) -> Trouble {
    let text = format!("{} runs but {why}", machine.id);
    Trouble::Ours(Error::new(ErrorKind::Connect(text)))
}

fn within(ctx: &Context) -> Duration {
    ctx.prepared.recipe.builder.timeouts.connect.get()
}

/// Attempts come faster than anybody reads; news and heartbeats are told.
fn watch(ctx: &Context, step: &StepId, what: &'static str) -> Watch {
    let emitter = ctx.emitter.clone();
    let shown = step.clone();
    let beat = ctx.settings.heartbeat;
    let heard_last = Mutex::new((Duration::ZERO, String::new()));
    Watch::new(move |attempt| {
        let state = attempt.problem.to_string();
        let mut last = lock(&heard_last);
        if last.1 == state && attempt.waited.saturating_sub(last.0) < beat {
            return;
        }
        *last = (attempt.waited, state.clone());
        emitter.emit(Event::Waiting {
            step: shown.clone(),
            what: what.to_owned(),
            resource: Some(attempt.peer.to_owned()),
            state,
            waited_ms: millis(attempt.waited),
            deadline_ms: millis(attempt.within),
        });
    })
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

/// For `forno shell` and `forno tunnel` in another process.
fn remember(ctx: &Context, machine: &Running, way: Option<ConnectionWay>) -> Result<(), Error> {
    let Some(way) = way else {
        return Ok(());
    };
    let connection = Connection {
        instance_id: machine.id.to_string(),
        region: ctx.prepared.region.clone(),
        endpoint_url: ctx.gateway.endpoint_url().map(str::to_owned),
        user: ctx.prepared.recipe.builder.user.clone(),
        way,
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

#[cfg(test)]
mod tests {
    use forno_recipe::{Cipher, KeyExchange};

    use super::*;

    #[test]
    fn what_a_recipe_may_choose_is_known_to_the_link() {
        let every = SshOptions {
            ciphers: Cipher::ALL.to_vec(),
            key_exchanges: KeyExchange::ALL.to_vec(),
        };
        assert!(algorithms(&every).is_ok());
    }
}
