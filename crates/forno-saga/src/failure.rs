//! An error that survives the process: what enters the ledger is a code for
//! programs and a message for people, not a Rust type that only the same
//! version could read back.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Short and stable: an EC2 error code, or one of ours such as `deadline`.
    pub code: String,
    pub message: String,
    /// From the nearest cause to the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

impl Failure {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            causes: Vec::new(),
        }
    }

    /// Takes the message and the causes of any error.
    pub fn of(code: impl Into<String>, error: &(dyn StdError + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self {
            code: code.into(),
            message: error.to_string(),
            causes,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            // Many errors repeat their source in their own text.
            if !self.message.contains(cause.as_str()) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl StdError for Failure {}
