//! From an instance id to a link, patiently: an agent registers some time after
//! its machine has started, and then a first command shows that it works.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ask::{Sends, service};
use super::frame::State;
use super::host::Host;
use super::link::SsmLink;
use super::target::SsmTarget;
use super::text::PROBE;
use crate::attempts::Attempts;
use crate::error::seconds;
use crate::ssm::RefusalKind;
use crate::{Error, ErrorKind, Watch};

/// What the first command takes at most.
const WORK: Duration = Duration::from_secs(5);

/// Waits for a machine's agent, until `within` is over.
pub async fn connect(
    target: SsmTarget,
    within: Duration,
    watch: &Watch,
    cancel: &CancellationToken,
) -> Result<SsmLink, Error> {
    let host = Arc::new(Host::new(target));
    establish(&host, within, watch, cancel).await?;
    Ok(SsmLink::new(host))
}

pub(super) async fn establish(
    host: &Host,
    within: Duration,
    watch: &Watch,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let timing = &host.target.timing;
    let mut unknown_since = None;
    let attempts = Attempts {
        peer: host.target.peer(),
        within,
        watch,
        cancel,
    };
    let boot = attempts
        .until(
            || attempt(host),
            || ErrorKind::NotConnected("no answer".into()),
            |problem| {
                let passes = if matches!(problem, ErrorKind::NoUser(_)) {
                    let since = *unknown_since.get_or_insert_with(Instant::now);
                    since.elapsed() < timing.user_patience
                } else {
                    problem.may_pass()
                };
                passes.then_some(timing.pause)
            },
        )
        .await?;
    host.found(&boot);
    Ok(())
}

/// The boot of a machine that answers.
async fn attempt(host: &Host) -> Result<String, ErrorKind> {
    let target = &host.target;
    let systems = target.commands.systems();
    let ping = match systems.ping(&target.instance_id).await {
        Ok(ping) => ping,
        Err(refusal) if refusal.kind == RefusalKind::Unreachable => {
            return Err(ErrorKind::NotConnected(refusal.message));
        }
        Err(refusal) => return Err(service(refusal)),
    };
    let Some(ping) = ping else {
        return Err(ErrorKind::NotConnected("not registered yet".into()));
    };
    if !ping.online {
        let silent = SystemTime::now()
            .duration_since(ping.last)
            .unwrap_or_default();
        return Err(ErrorKind::NotConnected(format!(
            "ConnectionLost, last heard of {} ago",
            seconds(&silent)
        )));
    }
    let mut text = host.text("none");
    text.add(PROBE);
    let answer = host.ask_now(&text, WORK, &mut Sends::default()).await?;
    match answer.state {
        State::Ready => Ok(answer.boot),
        State::NoUser => Err(ErrorKind::NoUser(target.user.clone())),
        State::Refused(why) => Err(ErrorKind::Remote {
            what: "run commands".into(),
            detail: why,
        }),
        _ => Err(ErrorKind::NotConnected("a strange answer".into())),
    }
}
