//! The agents that Systems Manager talks to.
//!
//! Nothing is installed in a machine: forno-machine runs scripts inside as an
//! agent would, and here is what such an agent does besides. It registers some
//! time after its machine has booted, says what the machine is, is lost when
//! the machine goes down, and connects again when it is back.

use std::sync::Arc;
use std::time::Duration;

use forno_machine::{Ended, Machine, Script, Status};
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use super::orders::Fleet;
use crate::faults::Marks;

/// What agents say of themselves.
pub(crate) const AGENT_VERSION: &str = "3.3.3572.0";
/// A guest that never shows that it is up counts as up after this time.
const BOOT_PATIENCE: Duration = Duration::from_mins(1);
/// Between two tries to ask a guest what it is.
const ASK_PAUSE: Duration = Duration::from_millis(200);
/// Between two signs of life of a connected agent.
const HEARTBEAT: Duration = Duration::from_mins(5);

/// Three lines about a machine.
const ASK: &str = r#"[ -r /etc/os-release ] && . /etc/os-release
printf '%s\n%s\n%s\n' "${NAME:-Linux}" "$VERSION_ID" "$(uname -n)"
"#;

/// What is known of the agent of one instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agent {
    /// None until it has registered.
    pub(crate) about: Option<About>,
    /// The machine that it runs in, while it does.
    machine: Option<Machine>,
    /// How many plans of faults keep it from its connection.
    lost: u32,
    /// How often it has come up; a script of an earlier boot is gone.
    pub(crate) boots: u64,
    /// When it connected, or was last heard of.
    seen: Timestamp,
}

/// What an agent says of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) registered: Timestamp,
    pub(crate) platform: String,
    pub(crate) version: String,
    pub(crate) computer: String,
}

impl Agent {
    pub(crate) fn online(&self) -> bool {
        self.machine.is_some() && self.lost == 0
    }

    /// The machine that can be reached through it now.
    pub(crate) fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref().filter(|_| self.lost == 0)
    }

    /// When it was last heard of.
    pub(crate) fn last_ping(&self, now: Timestamp) -> Timestamp {
        if !self.online() {
            return self.seen;
        }
        last_beat(self.seen, now)
    }

    /// A machine's boot is over. The instance may have another one by now,
    /// which is left alone.
    fn forget(&mut self, machine: &Machine) {
        self.machine.take_if(|own| own.is(machine));
    }

    /// A change after which it may be online or not.
    fn turn(&mut self, change: impl FnOnce(&mut Self)) {
        let now = Timestamp::now();
        let (was, seen) = (self.online(), self.last_ping(now));
        change(self);
        match (was, self.online()) {
            (false, true) => self.seen = now,
            (true, false) => self.seen = seen,
            _ => {}
        }
    }
}

impl Fleet {
    /// What is known of the agent of an instance, as a value to watch. None
    /// where there never was a machine.
    pub(crate) fn agent(&self, instance: &str) -> Option<watch::Receiver<Agent>> {
        self.agent_of(instance).map(|agent| agent.subscribe())
    }

    /// Cuts the connection of an agent where a plan of faults says so, for as
    /// long as it says.
    pub(crate) fn lose_agent(&self, instance: &str, marks: &Marks) {
        let Some((time, after, lifted)) = marks.agent_lost() else {
            return;
        };
        let Some(agent) = self.agent_of(instance) else {
            return;
        };
        let lose = |agent: &watch::Sender<Agent>| {
            agent.send_modify(|agent| agent.turn(|agent| agent.lost += 1));
        };
        if after.is_zero() {
            lose(&agent);
        }
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let wait = async |time| {
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = lifted.cancelled() => {}
                    () = closing.cancelled() => {}
                }
            };
            if !after.is_zero() {
                wait(after).await;
                lose(&agent);
            }
            wait(time).await;
            agent.send_modify(|agent| agent.turn(|agent| agent.lost -= 1));
        });
    }

    /// Whether instances without a profile are managed in a region, and this
    /// one has the metadata service through which its agent knows who it is.
    fn manages(&self, region: &str, instance: &str) -> bool {
        self.store.read(|world| {
            world.regions.get(region).is_some_and(|region| {
                region.host_management.is_on()
                    && region
                        .instances
                        .get(instance)
                        .is_some_and(|instance| instance.metadata.enabled)
            })
        })
    }
}

/// The last sign of life of an agent that is connected.
fn last_beat(connected: Timestamp, now: Timestamp) -> Timestamp {
    let up = Duration::try_from(now.duration_since(connected)).unwrap_or_default();
    let beats = up.as_secs() / HEARTBEAT.as_secs();
    let since = HEARTBEAT.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX));
    connected.saturating_add(since).unwrap_or(now)
}

/// The agent of one machine, from its launch to its end.
pub(super) async fn attend(
    fleet: Arc<Fleet>,
    region: String,
    id: String,
    machine: Machine,
    agent: watch::Sender<Agent>,
) {
    if !machine.has_agent() {
        return;
    }
    let (mut status, mut boots) = (machine.status(), machine.boots());
    let mut policy = fleet.policy.subscribe();
    loop {
        let boot = *boots.borrow_and_update();
        tokio::select! {
            () = serve(&fleet, &region, &id, &machine, &agent, &mut policy) => {}
            () = over(&mut status, &mut boots, boot) => {}
            () = fleet.closing.cancelled() => return,
        }
        agent.send_modify(|agent| agent.turn(|agent| agent.forget(&machine)));
        let back = status
            .wait_for(|status| matches!(status, Status::Running | Status::Off(_)))
            .await
            .is_ok_and(|status| *status == Status::Running);
        if !back {
            return;
        }
    }
}

/// One boot: never returns while the machine runs.
async fn serve(
    fleet: &Fleet,
    region: &str,
    id: &str,
    machine: &Machine,
    agent: &watch::Sender<Agent>,
    policy: &mut watch::Receiver<()>,
) {
    tokio::select! {
        _ = machine.booted() => {}
        () = tokio::time::sleep(BOOT_PATIENCE) => {}
    }
    tokio::time::sleep(fleet.pace.agent).await;
    let mut first = true;
    loop {
        policy.mark_unchanged();
        let managed = fleet.manages(region, id);
        if managed {
            if first {
                let about = ask(machine).await;
                agent.send_modify(|agent| {
                    let registered = agent.about.as_ref().map(|about| about.registered);
                    agent.about = Some(About {
                        registered: registered.unwrap_or(about.registered),
                        ..about
                    });
                    agent.boots += 1;
                });
                first = false;
            }
            agent.send_modify(|agent| agent.turn(|agent| agent.machine = Some(machine.clone())));
        } else {
            agent.send_modify(|agent| agent.turn(|agent| agent.machine = None));
        }
        if policy.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Waits until a boot is over.
pub(crate) async fn over(
    status: &mut watch::Receiver<Status>,
    boots: &mut watch::Receiver<u64>,
    boot: u64,
) {
    // A machine without a task is off.
    tokio::select! {
        _ = status.wait_for(|status| *status != Status::Running) => {}
        _ = boots.wait_for(|now| *now != boot) => {}
    }
}

/// Asks until there is an answer.
async fn ask(machine: &Machine) -> About {
    loop {
        match answer(machine).await {
            Some(about) => return about,
            None => tokio::time::sleep(ASK_PAUSE).await,
        }
    }
}

async fn answer(machine: &Machine) -> Option<About> {
    let script = Script {
        name: "agent".to_owned(),
        text: ASK.to_owned(),
        folder: Some("/".to_owned()),
        env: Vec::new(),
    };
    let mut running = match machine.run(script).await {
        Ok(running) => running,
        Err(error) => {
            tracing::debug!(machine = machine.id(), %error, "the agent is not up yet");
            return None;
        }
    };
    let mut said = String::new();
    let stdout = running.stdout.take()?;
    stdout.take(4096).read_to_string(&mut said).await.ok()?;
    if running.ended().await != Ended::Code(0) {
        return None;
    }
    let mut lines = said.lines().map(str::to_owned);
    Some(About {
        registered: Timestamp::now(),
        platform: lines.next()?,
        version: lines.next()?,
        computer: lines.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_lost_was_last_heard_of_when_it_was_there() {
        let minutes_ago = |minutes: i64| {
            let now = Timestamp::now().as_second();
            Timestamp::from_second(now - minutes * 60).unwrap()
        };
        let mut agent = Agent {
            seen: minutes_ago(12),
            ..Agent::default()
        };
        let now = Timestamp::now();
        assert_eq!(agent.last_ping(now), agent.seen, "it is not connected");
        assert_eq!(
            last_beat(agent.seen, now),
            minutes_ago(2),
            "every five minutes"
        );
        agent.turn(|agent| agent.lost = 1);
        assert_eq!(agent.seen, minutes_ago(12), "nothing changed");
    }
}
