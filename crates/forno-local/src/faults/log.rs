//! What is remembered of calls: in which order they came, and what became of
//! each. The newest are kept; tests and people ask for them.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::actions::is_known;

/// How many calls are remembered.
const MOST: usize = 10_000;
/// What is kept of an action's name that no service has.
const LONGEST_NAME: usize = 64;

/// The services that answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// Elastic Compute Cloud.
    Ec2,
    /// The direct APIs of Elastic Block Store.
    Ebs,
    /// Identity and Access Management.
    Iam,
    /// Security Token Service.
    Sts,
    /// Systems Manager.
    Ssm,
    /// The data channels of its sessions.
    #[serde(rename = "ssmmessages")]
    SsmMessages,
    /// Simple Storage Service.
    S3,
}

impl ServiceName {
    /// As in endpoints and signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Ebs => "ebs",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Ssm => "ssm",
            Self::SsmMessages => "ssmmessages",
            Self::S3 => "s3",
        }
    }
}

/// A call whose signature was believed, before anything is done about it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) service: ServiceName,
    pub(crate) region: &'static str,
    pub(crate) action: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) request_id: String,
}

/// One call whose signature was believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// Counted from 1, over all services.
    pub number: u64,
    /// When it came.
    pub at: Timestamp,
    /// Whose action it is.
    pub service: ServiceName,
    /// Where.
    pub region: &'static str,
    /// What was asked.
    pub action: String,
    /// Which of the calls of this action it is, from 1. Calls of actions that
    /// do not exist are counted together.
    pub ordinal: u64,
    /// The id that its reply carries.
    pub request_id: String,
    /// What became of the work.
    pub work: Work,
    /// The code with which it was refused.
    pub code: Option<String>,
    /// What became of the reply.
    pub reply: Reply,
    /// The entries of the plan that struck it, counted from 1.
    pub faults: Vec<usize>,
}

/// What became of the work of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Not done: not yet, or never.
    None,
    /// Done and saved.
    Done,
    /// Refused.
    Refused,
}

/// What became of the reply to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// To come.
    Awaited,
    /// Handed to the connection.
    Sent,
    /// The connection was torn down instead.
    Reset,
    /// Held back until the client gives up.
    Held,
}

/// Names a record to its call; worth nothing once the log was cleared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    age: u64,
    number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// How often it was cleared.
    age: u64,
    newest: u64,
    records: VecDeque<CallRecord>,
    ordinals: BTreeMap<(ServiceName, String), u64>,
}

impl Log {
    /// Enters a call.
    pub(super) fn enter(&mut self, asked: &Asked, faults: Vec<usize>) -> Ticket {
        self.newest += 1;
        let counted = if is_known(asked.service, &asked.action) {
            asked.action.clone()
        } else {
            String::new()
        };
        let ordinal = self.ordinals.entry((asked.service, counted)).or_default();
        *ordinal += 1;
        if self.records.len() == MOST {
            self.records.pop_front();
        }
        self.records.push_back(CallRecord {
            number: self.newest,
            at: Timestamp::now(),
            service: asked.service,
            region: asked.region,
            action: asked.action.chars().take(LONGEST_NAME).collect(),
            ordinal: *ordinal,
            request_id: asked.request_id.clone(),
            work: Work::None,
            code: None,
            reply: Reply::Awaited,
            faults,
        });
        Ticket {
            age: self.age,
            number: self.newest,
        }
    }

    /// Notes what became of a call, where it is still remembered.
    pub(super) fn settle(&mut self, ticket: Ticket, work: Option<Result<(), &str>>, reply: Reply) {
        let Some(record) = self
            .place(ticket)
            .and_then(|place| self.records.get_mut(place))
        else {
            return;
        };
        match work {
            None => {}
            Some(Ok(())) => record.work = Work::Done,
            Some(Err(code)) => {
                record.work = Work::Refused;
                record.code = Some(code.to_owned());
            }
        }
        record.reply = reply;
    }

    /// Numbers are dense, so the place follows from the number.
    fn place(&self, ticket: Ticket) -> Option<usize> {
        let oldest = self.records.front()?.number;
        let place = ticket.number.checked_sub(oldest)?;
        (ticket.age == self.age).then(|| usize::try_from(place).ok())?
    }

    pub(super) fn records(&self) -> Vec<CallRecord> {
        self.records.iter().cloned().collect()
    }

    /// Forgets all calls; numbers begin anew.
    pub(super) fn clear(&mut self) {
        *self = Self {
            age: self.age + 1,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(action: &str) -> Asked {
        Asked {
            service: ServiceName::Ec2,
            region: "us-east-1",
            action: action.to_owned(),
            parameters: BTreeMap::new(),
            request_id: String::new(),
        }
    }

    #[test]
    fn calls_are_numbered_as_a_whole_and_by_action() {
        let mut log = Log::default();
        for action in ["RunInstances", "CreateTags", "RunInstances", "X", "Y"] {
            log.enter(&asked(action), Vec::new());
        }
        let seen: Vec<_> = log
            .records()
            .into_iter()
            .map(|record| (record.number, record.ordinal))
            .collect();
        assert_eq!(seen, [(1, 1), (2, 1), (3, 2), (4, 1), (5, 2)]);
    }

    #[test]
    fn old_calls_are_forgotten_and_late_news_of_them_is_lost() {
        let mut log = Log::default();
        let tickets: Vec<Ticket> = (0..MOST + 5)
            .map(|_| log.enter(&asked("CreateTags"), Vec::new()))
            .collect();
        log.settle(tickets[2], Some(Ok(())), Reply::Sent);
        log.settle(tickets[6], Some(Err("InternalError")), Reply::Sent);
        let records = log.records();
        assert_eq!((records.len(), records[0].number), (MOST, 6));
        assert_eq!(records[1].code.as_deref(), Some("InternalError"));
        let touched = |record: &&CallRecord| record.work != Work::None;
        assert_eq!(records.iter().filter(touched).count(), 1);

        log.clear();
        log.enter(&asked("CreateTags"), vec![2]);
        log.settle(tickets[0], Some(Ok(())), Reply::Sent);
        let records = log.records();
        assert_eq!((records.len(), records[0].number), (1, 1));
        assert_eq!((records[0].ordinal, records[0].work), (1, Work::None));
    }
}
