//! What stands in a line of the ledger.
//!
//! The format is read by later versions and by `forno sweep` on a bad day, so
//! it is small, has no flattening, and never holds a secret: intents and
//! results are names, ids, tokens and tags.

use std::fmt;

use forno_events::BakeId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;

/// The version of the ledger's format. The first one knew no [`Body::Passed`];
/// it is still read.
pub(crate) const VERSION: u16 = 2;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 0 without a gap.
    pub seq: u64,
    pub at: Timestamp,
    pub body: Body,
}

/// The name of an effect within its bake: `key-pair`, `builder.2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectId(String);

impl EffectId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Body {
    /// Always the first: whose ledger this is, and where its effects lie.
    Opened {
        version: u16,
        bake: BakeId,
        /// What an undo needs to know about the place: region, endpoint.
        place: Value,
    },
    /// The world may change from here on.
    Intent {
        effect: EffectId,
        kind: String,
        intent: Value,
    },
    Done {
        effect: EffectId,
        done: Value,
    },
    /// For certain: nothing has come into being.
    Failed {
        effect: EffectId,
        failure: Failure,
    },
    /// Nobody can say whether it happened.
    Unknown {
        effect: EffectId,
        failure: Failure,
    },
    UndoStarted {
        effect: EffectId,
    },
    /// Looked for, and not there any more.
    Undone {
        effect: EffectId,
    },
    /// Could not be undone in its time; a person or a sweep must.
    Stuck {
        effect: EffectId,
        failure: Failure,
        command: String,
    },
    /// The point of no return: from here on these are the product, and are
    /// never undone. All others still are.
    Kept {
        effects: Vec<EffectId>,
    },
    /// A step that need not be done again for as long as the effect that it was
    /// done on, a machine, is there.
    Passed {
        step: String,
        on: EffectId,
    },
    /// The bake is over.
    Closed {
        closing: Closing,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// Its product exists and nothing else does.
    Finished,
    /// It came to nothing, and nothing is left.
    Undone,
    /// Resources are left, named by their `stuck` records.
    Leaking,
    /// Resources are kept on purpose, for somebody to look at.
    Kept,
}
