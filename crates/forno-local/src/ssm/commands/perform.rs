//! One command on one instance: delivered once the agent is connected, run,
//! and told when the agent is connected again.
//!
//! An agent that comes back after a restart finds that the process it had
//! started is gone, and says that the command failed; one that does not come
//! back says nothing, and the command times out as undelivered.

use std::sync::Arc;
use std::time::Duration;

use forno_machine::{Ended, Machine, Running, Script};
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::document::Work;
use super::model::{Invocation, Standing};
use super::outcome::{End, Outcome, STDERR, STDOUT, keep_start};
use crate::faults::Marks;
use crate::fleet::{Agent, over};
use crate::service::Service;

/// How long it may take to see that a machine is going down, by whose going
/// down a script was ended.
const DOUBT: Duration = Duration::from_secs(2);
/// Between two tries to start a script in a machine that is up.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// What is to be done.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) service: Arc<Service>,
    pub(super) command: String,
    pub(super) instance: String,
    pub(super) region: &'static str,
    pub(super) work: Work,
    pub(super) expires: Instant,
    pub(super) cancel: CancellationToken,
    /// How many instances may have the command at once.
    pub(super) turns: Arc<Semaphore>,
    pub(super) marks: Marks,
}

/// A script that an agent has started.
struct Begun {
    machine: Machine,
    running: Running,
    /// How often the agent had come up by then, and the machine.
    agent: u64,
    in_boot: u64,
}

impl Delivery {
    /// Carries it out.
    pub(super) async fn carry_out(self) {
        let closing = self.service.fleet.closing.clone();
        let outcome = tokio::select! {
            outcome = self.live() => outcome,
            () = sleep_until(self.expires) => Outcome::without_words(Standing::DeliveryTimedOut),
            () = closing.cancelled() => return,
        };
        self.change(|invocation| {
            invocation.standing = outcome.standing;
            invocation.code = outcome.code;
            invocation.stdout = outcome.stdout;
            invocation.stderr = outcome.stderr;
            invocation.ended = invocation.started.map(|_| Timestamp::now());
        });
    }

    async fn live(&self) -> Outcome {
        tokio::select! {
            biased;
            () = after(self.marks.undeliverable()) => Outcome::without_words(Standing::Undeliverable),
            // Never comes back.
            () = self.give_up() => Outcome::without_words(Standing::Cancelled),
            outcome = self.deliver() => outcome,
        }
    }

    /// Cancels at the time that a plan of faults says.
    async fn give_up(&self) {
        after(self.marks.cancelled()).await;
        self.cancel.cancel();
        std::future::pending::<()>().await;
    }

    async fn deliver(&self) -> Outcome {
        let cancelled = || Outcome::without_words(Standing::Cancelled);
        let undeliverable = || Outcome::without_words(Standing::Undeliverable);
        let Some(mut agent) = self.service.fleet.agent(&self.instance) else {
            return undeliverable();
        };
        let (turn, begun) = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return cancelled(),
            started = self.start(&mut agent) => match started {
                Some(started) => started,
                None => return undeliverable(),
            },
        };
        self.change(|invocation| {
            invocation.standing = Standing::InProgress;
            invocation.started = Some(Timestamp::now());
        });
        let outcome = self.attend(begun, &mut agent).await;
        drop(turn);
        outcome
    }

    /// Starts the script when its turn has come and the agent is connected.
    async fn start<'a>(
        &'a self,
        agent: &mut watch::Receiver<Agent>,
    ) -> Option<(SemaphorePermit<'a>, Begun)> {
        let turn = self.turns.acquire().await.ok()?;
        loop {
            if !agent.borrow_and_update().online() {
                self.change(|invocation| invocation.standing = Standing::Delayed);
            }
            // An instance that is forgotten has no agent any more.
            let (machine, up) = {
                let agent = agent.wait_for(Agent::online).await.ok()?;
                (agent.machine().cloned(), agent.boots)
            };
            let Some(machine) = machine else { continue };
            let in_boot = *machine.boots().borrow();
            match machine.run(self.script()).await {
                Ok(running) => {
                    let begun = Begun {
                        machine,
                        running,
                        agent: up,
                        in_boot,
                    };
                    return Some((turn, begun));
                }
                Err(error) => {
                    tracing::debug!(instance = self.instance, %error, "not delivered yet");
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    fn script(&self) -> Script {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Script {
            name: self.command.clone(),
            text: self.work.script.clone(),
            folder: self.work.folder.clone(),
            env: vec![
                set("AWS_SSM_INSTANCE_ID", &self.instance),
                set("AWS_SSM_REGION_NAME", self.region),
            ],
        }
    }

    /// Until the script has ended and its agent has said so.
    async fn attend(&self, begun: Begun, agent: &mut watch::Receiver<Agent>) -> Outcome {
        let Begun {
            machine,
            mut running,
            agent: up,
            in_boot,
        } = begun;
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let (out, err) = (running.stdout.take(), running.stderr.take());
        let end = {
            // An agent waits for the end of the output too: for what the script
            // left in the background, unless that writes elsewhere.
            let whole = async {
                let (ended, (), ()) = tokio::join!(
                    running.ended(),
                    keep_start(out, STDOUT, &mut stdout),
                    keep_start(err, STDERR, &mut stderr)
                );
                ended
            };
            let end = tokio::select! {
                ended = whole => Some(End::Itself(ended)),
                () = sleep(self.work.timeout) => Some(End::TimedOut),
                () = self.cancel.cancelled() => Some(End::Cancelled),
                // Nobody is left who could tell.
                _ = agent.wait_for(|agent| agent.boots > up) => None,
            };
            if let Some(End::TimedOut | End::Cancelled) = end {
                if let Some(End::Cancelled) = end {
                    self.change(|invocation| invocation.standing = Standing::Cancelling);
                }
                running.kill();
                let _ = running.ended().await;
            }
            end
        };
        if let Some(End::Itself(ended)) = end
            && by_force(ended)
        {
            let (mut status, mut boots) = (machine.status(), machine.boots());
            let down = over(&mut status, &mut boots, in_boot);
            if tokio::time::timeout(DOUBT, down).await.is_ok() {
                let _ = agent.wait_for(|agent| agent.boots > up).await;
            }
        }
        // A lost connection holds the news up.
        if agent.wait_for(Agent::online).await.is_err() {
            std::future::pending::<()>().await;
        }
        match end {
            Some(end) if agent.borrow().boots == up => Outcome::of(end, stdout, stderr),
            _ => Outcome::gone(stdout),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Invocation)) {
        let mut commands = self.service.memory.commands();
        commands.change(&self.command, &self.instance, change);
    }
}

/// Whether a script may have been ended by its machine's going down: by a
/// signal, or by that of a child of its shell.
fn by_force(ended: Ended) -> bool {
    match ended {
        // SIGHUP, SIGKILL, SIGTERM
        Ended::Code(code) => matches!(code, 129 | 137 | 143),
        Ended::Signal(_) | Ended::Lost => true,
    }
}

async fn after(time: Option<Duration>) {
    match time {
        Some(Duration::ZERO) => {}
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}
