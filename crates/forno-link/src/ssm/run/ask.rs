//! One script and its answer. Replies are lost, agents restart, commands get
//! stuck: a script is sent once more before the machine counts as lost. All
//! scripts bear that.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::frame::Answer;
use super::host::Host;
use super::text::Text;
use crate::ssm::{CommandOutput, Refusal, RefusalKind, Stage};
use crate::{ErrorKind, ssm};

/// Sends of one script.
const SENDS: u32 = 3;

/// After a call that was not answered.
const PAUSE: Duration = Duration::from_millis(500);

/// Looks for the output of a command that has ended.
const LOOKS: u32 = 20;

/// Beyond what a script needs, until Systems Manager ends it.
const MARGIN: Duration = Duration::from_mins(1);

/// What became of one send.
enum Fate {
    Answered(Answer),
    /// It ran, or did not, and nothing can be learnt of it.
    Unknown(String),
}

/// How many times a script was sent, whatever became of it.
#[derive(Debug, Default)]
pub(super) struct Sends(pub(super) u32);

impl Host {
    /// `work` is how long the script may take. What it may cost to wait for that
    /// is bounded: either it is answered or the machine counts as lost.
    pub(super) async fn ask(
        &self,
        text: &Text,
        work: Duration,
        sends: &mut Sends,
    ) -> Result<Answer, ErrorKind> {
        self.check()?;
        let permit = self.slots.acquire().await;
        self.check()?;
        let answer = self.ask_now(text, work, sends).await;
        drop(permit);
        match answer {
            Err(ErrorKind::Lost(why)) => Err(self.lose(&why)),
            other => other,
        }
    }

    /// The same, without regard to what is known of the machine.
    pub(super) async fn ask_now(
        &self,
        text: &Text,
        work: Duration,
        sends: &mut Sends,
    ) -> Result<Answer, ErrorKind> {
        let mut why = String::new();
        let started = Instant::now();
        for _ in 0..SENDS {
            sends.0 += 1;
            match self.once(text, work).await? {
                Fate::Answered(answer) => return Ok(answer),
                Fate::Unknown(reason) => {
                    tracing::debug!(%reason, "a script was not answered");
                    why = reason;
                    // Twice out of time is enough.
                    if started.elapsed() > (work + self.target.timing.grace) * 2 {
                        break;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        Err(ErrorKind::Lost(why))
    }

    async fn once(&self, text: &Text, work: Duration) -> Result<Fate, ErrorKind> {
        let (commands, timing) = (&self.target.commands, &self.target.timing);
        let (systems, instance) = (commands.systems(), &self.target.instance_id);
        let started = Instant::now();
        let sent = systems
            .send_command(instance, text.as_str(), timing.delivery, work + MARGIN)
            .await;
        let id = match sent {
            Ok(id) => id,
            Err(refusal) => return unanswered(refusal),
        };
        let patience = work + timing.grace;
        let Ok(ended) = timeout(patience, commands.ended(&id, instance)).await else {
            let _ = systems.cancel_command(&id).await;
            // What the service knows of the agent may be minutes old, but when
            // it knows it to be away, it is.
            if let Ok(Some(ping)) = systems.ping(instance).await
                && !ping.online
            {
                let why = "the agent is not online any more";
                return Err(ErrorKind::Lost(why.into()));
            }
            let waited = crate::error::seconds(&started.elapsed());
            return Ok(Fate::Unknown(format!("no answer within {waited}")));
        };
        match ended {
            Err(refusal) => return unanswered(refusal),
            Ok(Stage::Undelivered(why)) => {
                return Err(ErrorKind::Lost(format!(
                    "the agent did not take a command: {why}"
                )));
            }
            Ok(Stage::Cancelled) => return Ok(Fate::Unknown("a command was cancelled".into())),
            Ok(Stage::ExecutionTimedOut) => {
                return Ok(Fate::Unknown("a command took too long".into()));
            }
            Ok(Stage::Ended | Stage::Underway) => {}
        }
        match self.output(&id).await {
            Ok(said) => {
                if let Some(answer) = Answer::parse(&said.stdout, &text.tag) {
                    self.answered(text, &id);
                    return Ok(Fate::Answered(answer));
                }
                let last = said.stderr.lines().rfind(|line| !line.trim().is_empty());
                let last = last.unwrap_or("it said nothing");
                Ok(Fate::Unknown(format!(
                    "a command had no answer (status {}): {last}",
                    said.response_code
                )))
            }
            Err(refusal) => unanswered(refusal),
        }
    }

    async fn output(&self, id: &str) -> Result<CommandOutput, Refusal> {
        let systems = self.target.commands.systems();
        let mut looks = 0;
        loop {
            looks += 1;
            match systems.command_output(id, &self.target.instance_id).await {
                Err(refusal)
                    if looks < LOOKS
                        && matches!(
                            refusal.kind,
                            RefusalKind::Unknown | RefusalKind::Unreachable
                        ) => {}
                Ok(output) if looks < LOOKS && output.stage == Stage::Underway => {}
                other => return other,
            }
            sleep(PAUSE).await;
        }
    }

    /// Has no hold on slots, and does not resend.
    pub(super) async fn order(&self, text: &Text, within: Duration) -> bool {
        let fate = timeout(within, self.once(text, within)).await;
        matches!(fate, Ok(Ok(Fate::Answered(_))))
    }
}

fn unanswered(refusal: Refusal) -> Result<Fate, ErrorKind> {
    match refusal.kind {
        RefusalKind::NotConnected => Err(ErrorKind::Lost(refusal.message)),
        RefusalKind::Unreachable | RefusalKind::Unknown => Ok(Fate::Unknown(refusal.message)),
        RefusalKind::Denied | RefusalKind::Other => Err(service(refusal)),
    }
}

pub(super) fn service(refusal: ssm::Refusal) -> ErrorKind {
    ErrorKind::Systems(refusal)
}
