//! One thing that goes wrong at one call.

use std::fmt;

use forno_local::{CallRecord, Fault, Moment};

/// A call of a bake: the `ordinal`th of its action, counted from 1. Dry runs are
/// counted apart, since they make nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Call {
    pub(super) action: String,
    pub(super) dry_run: bool,
    pub(super) ordinal: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum How {
    /// The process dies before the call takes effect.
    KilledBefore,
    /// The process dies when the call has taken effect and nobody knows of it.
    KilledAfter,
    /// Refused.
    Refused,
    /// It took effect, and the connection breaks before the reply.
    ReplyLost,
    /// Refused, and so is the first removal that follows.
    RefusedAndUndoToo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blow {
    pub(super) call: Call,
    pub(super) how: How,
}

/// What removes.
const REMOVALS: &str = "TerminateInstances|DeleteKeyPair|DeleteSecurityGroup|DeregisterImage|\
                        DeleteSnapshot|DeleteRole|DeleteInstanceProfile";

impl How {
    pub(super) const ALL: [Self; 5] = [
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Refused,
        Self::ReplyLost,
        Self::RefusedAndUndoToo,
    ];

    pub(super) fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }
}

impl Call {
    /// Whether it makes, changes or removes something.
    pub(super) fn changes(&self) -> bool {
        let looks = ["Describe", "Get", "List"];
        !self.dry_run && !looks.iter().any(|look| self.action.starts_with(look))
    }

    /// Every call of this log, numbered within its action.
    pub(super) fn all(log: &[CallRecord]) -> Vec<Self> {
        let mut calls: Vec<Self> = Vec::new();
        for record in log {
            let dry_run = record.code.as_deref() == Some("DryRunOperation");
            let same = |call: &&Self| call.action == record.action && call.dry_run == dry_run;
            let before = calls.iter().filter(same).count() as u64;
            calls.push(Self {
                action: record.action.clone(),
                dry_run,
                ordinal: before + 1,
            });
        }
        calls
    }
}

impl Blow {
    /// Of all looks of a kind, and of all ways, these say the most: the process dies, or
    /// the account may not look.
    pub(super) fn is_of_first_look(&self) -> bool {
        self.call.ordinal == 1 && matches!(self.how, How::KilledAfter | How::Refused)
    }

    /// As entries of a plan; the first of them is the one that kills.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut at = Fault::of(&self.call.action).calls([self.call.ordinal]);
        if self.call.dry_run {
            at = at.with("DryRun", "true");
        }
        match self.how {
            How::KilledBefore => vec![at.hang(Moment::Before)],
            How::KilledAfter => vec![at.hang(Moment::After)],
            How::Refused => vec![at.error("UnauthorizedOperation")],
            How::ReplyLost => vec![at.reset(Moment::After)],
            How::RefusedAndUndoToo => vec![
                at.error("UnauthorizedOperation"),
                Fault::of(REMOVALS).error("UnauthorizedOperation"),
            ],
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dry = if self.dry_run { "(dry)" } else { "" };
        f.pad(&format!("{}{dry}#{}", self.action, self.ordinal))
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KilledBefore => "killed-before",
            Self::KilledAfter => "killed-after",
            Self::Refused => "refused",
            Self::ReplyLost => "reply-lost",
            Self::RefusedAndUndoToo => "undo-refused-too",
        })
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.call, self.how)
    }
}
