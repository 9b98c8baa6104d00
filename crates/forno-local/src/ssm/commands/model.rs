//! Commands as they are remembered: the newest, for as long as the endpoint
//! runs.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many commands are remembered. Each may hold 32,000 characters of output
/// for each of its instances.
const MOST: usize = 2_000;

/// All commands of an endpoint.
#[derive(Debug, Default)]
pub(in crate::ssm) struct Commands {
    newest: u64,
    by_number: BTreeMap<u64, Command>,
    numbers: HashMap<String, u64>,
}

/// One SendCommand.
#[derive(Debug)]
pub(super) struct Command {
    /// Counts from 1; the order in which they are listed.
    pub(super) number: u64,
    pub(super) region: &'static str,
    pub(super) id: String,
    pub(super) version: String,
    pub(super) comment: String,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    /// As they were given.
    pub(super) instance_ids: Vec<String>,
    pub(super) targets: Vec<(String, Vec<String>)>,
    pub(super) max_concurrency: String,
    pub(super) max_errors: String,
    pub(super) timeout: u32,
    pub(super) requested: Timestamp,
    /// After this nothing more is expected of any agent.
    pub(super) expires: Timestamp,
    /// Until when it cannot be seen, unless that is lifted.
    pub(super) hidden: Option<(Instant, CancellationToken)>,
    pub(super) invocations: Vec<Invocation>,
}

/// A command as one instance has it.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) instance: String,
    pub(super) standing: Standing,
    pub(super) code: i32,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Somebody wants it to end.
    pub(super) cancel: CancellationToken,
}

/// Where an invocation, or a whole command, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Delayed,
    InProgress,
    Cancelling,
    Success,
    Failed,
    Cancelled,
    DeliveryTimedOut,
    ExecutionTimedOut,
    Undeliverable,
    /// Of a command: no instance was meant.
    NoInstances,
}

impl Standing {
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Delayed => "Delayed",
            Self::InProgress => "InProgress",
            Self::Cancelling => "Cancelling",
            Self::Success | Self::NoInstances => "Success",
            Self::Failed | Self::Undeliverable => "Failed",
            Self::Cancelled => "Cancelled",
            Self::DeliveryTimedOut | Self::ExecutionTimedOut => "TimedOut",
        }
    }

    pub(super) fn details(self) -> &'static str {
        match self {
            Self::DeliveryTimedOut => "DeliveryTimedOut",
            Self::ExecutionTimedOut => "ExecutionTimedOut",
            Self::Undeliverable => "Undeliverable",
            Self::NoInstances => "NoInstancesInTag",
            other => other.status(),
        }
    }

    pub(super) fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Delayed | Self::InProgress | Self::Cancelling
        )
    }

    /// Whether a filter's word for a status means it.
    pub(super) fn answers_to(self, word: &str) -> bool {
        word == self.status() || word == self.details()
    }
}

impl Invocation {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            standing: Standing::Pending,
            code: -1,
            started: None,
            ended: None,
            stdout: String::new(),
            stderr: String::new(),
            cancel: CancellationToken::new(),
        }
    }

    pub(super) fn elapsed(&self) -> Option<SignedDuration> {
        Some(self.ended?.duration_since(self.started?))
    }
}

impl Command {
    pub(super) fn is_hidden(&self) -> bool {
        self.hidden
            .as_ref()
            .is_some_and(|(until, lifted)| *until > Instant::now() && !lifted.is_cancelled())
    }

    /// All of its invocations together.
    pub(super) fn standing(&self) -> Standing {
        use Standing::{
            Cancelled, Cancelling, DeliveryTimedOut, ExecutionTimedOut, Failed, InProgress,
            NoInstances, Pending, Success, Undeliverable,
        };
        let any = |standing| self.count(|one| one == standing) > 0;
        if self.invocations.is_empty() {
            return NoInstances;
        }
        if self.count(|one| !one.is_final()) > 0 {
            return if any(Cancelling) {
                Cancelling
            } else if self.invocations.iter().all(|one| one.started.is_none()) {
                Pending
            } else {
                InProgress
            };
        }
        let worst = [
            Failed,
            Undeliverable,
            ExecutionTimedOut,
            DeliveryTimedOut,
            Cancelled,
        ];
        worst.into_iter().find(|one| any(*one)).unwrap_or(Success)
    }

    pub(super) fn count(&self, which: impl Fn(Standing) -> bool) -> usize {
        let all = self.invocations.iter();
        all.filter(|one| which(one.standing)).count()
    }
}

impl Commands {
    /// Remembers a command; old ones that have ended make room.
    pub(super) fn add(&mut self, mut command: Command) {
        self.newest += 1;
        command.number = self.newest;
        self.numbers.insert(command.id.clone(), command.number);
        self.by_number.insert(command.number, command);
        while self.by_number.len() > MOST {
            let over = |command: &&Command| command.standing().is_final();
            let Some(number) = self.by_number.values().find(over).map(|old| old.number) else {
                break;
            };
            if let Some(old) = self.by_number.remove(&number) {
                self.numbers.remove(&old.id);
            }
        }
    }

    /// A command of a region.
    pub(super) fn find(&self, region: &str, id: &str) -> Option<&Command> {
        let command = self.by_number.get(self.numbers.get(id)?)?;
        (command.region == region && !command.is_hidden()).then_some(command)
    }

    /// The newest first.
    pub(super) fn of_region<'a>(&'a self, region: &str) -> impl Iterator<Item = &'a Command> {
        let all = self.by_number.values().rev();
        all.filter(move |command| command.region == region && !command.is_hidden())
    }

    /// Changes an invocation, where it is still remembered.
    pub(super) fn change(
        &mut self,
        id: &str,
        instance: &str,
        change: impl FnOnce(&mut Invocation),
    ) {
        let number = self.numbers.get(id);
        let command = number.and_then(|number| self.by_number.get_mut(number));
        let all = command.map(|command| command.invocations.iter_mut());
        if let Some(one) = all
            .into_iter()
            .flatten()
            .find(|one| one.instance == instance)
        {
            change(one);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn command(standings: &[Standing]) -> Command {
        let invocations = standings.iter().zip(0..).map(|(standing, n)| Invocation {
            standing: *standing,
            started: (*standing != Standing::Pending).then(Timestamp::now),
            ..Invocation::new(format!("i-{n:017}"))
        });
        Command {
            number: 0,
            region: "us-east-1",
            id: uuid::Uuid::new_v4().to_string(),
            version: "$DEFAULT".to_owned(),
            comment: String::new(),
            parameters: BTreeMap::new(),
            instance_ids: Vec::new(),
            targets: Vec::new(),
            max_concurrency: "50".to_owned(),
            max_errors: "0".to_owned(),
            timeout: 3600,
            requested: Timestamp::now(),
            expires: Timestamp::now(),
            hidden: None,
            invocations: invocations.collect(),
        }
    }

    #[test]
    fn a_command_is_where_its_invocations_are() {
        use Standing::{
            Cancelled, Cancelling, DeliveryTimedOut, ExecutionTimedOut, Failed, InProgress,
            NoInstances, Pending, Success,
        };
        let all = |standings: &[Standing]| command(standings).standing();
        assert_eq!(all(&[]), NoInstances);
        assert_eq!(all(&[Pending, Pending]), Pending);
        assert_eq!(all(&[Success, Pending]), InProgress);
        assert_eq!(all(&[Success, Cancelling]), Cancelling);
        assert_eq!(all(&[Success, Success]), Success);
        assert_eq!(all(&[Success, Cancelled]), Cancelled);
        assert_eq!(
            all(&[ExecutionTimedOut, DeliveryTimedOut]),
            ExecutionTimedOut
        );
        assert_eq!(all(&[Failed, ExecutionTimedOut, Success]), Failed);
    }

    #[test]
    fn what_runs_is_never_forgotten() {
        let mut commands = Commands::default();
        let running = command(&[Standing::InProgress]);
        let first = running.id.clone();
        commands.add(running);
        for _ in 0..MOST + 3 {
            commands.add(command(&[Standing::Success]));
        }
        assert!(commands.find("us-east-1", &first).is_some());
        assert!(commands.find("eu-west-1", &first).is_none());
        assert_eq!(commands.by_number.len(), MOST);
        assert_eq!(commands.numbers.len(), MOST);
        let listed: Vec<u64> = commands
            .of_region("us-east-1")
            .map(|one| one.number)
            .collect();
        assert!(listed.is_sorted_by(|a, b| a > b));
    }
}
