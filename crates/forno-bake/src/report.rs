//! What came of a run, for the one who started it.

use std::path::PathBuf;
use std::time::Duration;

use forno_events::{BakeId, Event, Outcome};
use forno_saga::Unreleased;

use crate::{Error, ExitCode};

/// One bake, over.
#[derive(Debug)]
pub struct BakeReport {
    pub bake: BakeId,
    /// The name of the recipe's image.
    pub image: String,
    /// The folder of the bake.
    pub folder: PathBuf,
    /// The finished image.
    pub image_id: Option<String>,
    pub image_name: Option<String>,
    /// Why it failed, if it did.
    pub error: Option<Error>,
    /// What could not be removed.
    pub unreleased: Vec<Unreleased>,
    /// The builder was left on purpose.
    pub kept: bool,
    pub elapsed: Duration,
    /// Why it was baked: what changed.
    pub reason: String,
}

impl BakeReport {
    /// As the last event of the bake.
    pub(crate) fn finished(&self) -> Event {
        Event::BakeFinished {
            outcome: match &self.error {
                None => Outcome::Ok,
                Some(error) if error.exit_code() == ExitCode::Interrupted => Outcome::Cancelled,
                Some(_) => Outcome::Failed,
            },
            exit_code: self.exit_code().code(),
            image_id: self.image_id.clone(),
            image_name: self.image_name.clone(),
            error: self.error.as_ref().map(Error::full),
            hint: self.error.as_ref().and_then(Error::hint),
            leaks: u32::try_from(self.unreleased.len()).unwrap_or(u32::MAX),
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        if !self.unreleased.is_empty() {
            return ExitCode::LeftBehind;
        }
        self.error.as_ref().map_or(ExitCode::Done, Error::exit_code)
    }
}

/// What became of one recipe of a run.
#[derive(Debug)]
pub enum RunResult {
    Baked(Box<BakeReport>),
    /// `--if-changed`, and the newest image is what this bake would make.
    Unchanged {
        image: String,
        image_id: String,
        image_name: String,
    },
    /// Not even begun.
    Refused {
        image: String,
        error: Error,
    },
}

impl RunResult {
    pub fn image(&self) -> &str {
        match self {
            Self::Baked(report) => &report.image,
            Self::Unchanged { image, .. } | Self::Refused { image, .. } => image,
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Baked(report) => report.exit_code(),
            Self::Unchanged { .. } => ExitCode::NothingToDo,
            Self::Refused { error, .. } => error.exit_code(),
        }
    }
}

/// A whole run: in the order in which the images start from one another.
#[derive(Debug, Default)]
pub struct RunReport {
    pub results: Vec<RunResult>,
}

impl RunReport {
    pub fn exit_code(&self) -> ExitCode {
        self.results
            .iter()
            .map(RunResult::exit_code)
            .reduce(ExitCode::worse)
            .unwrap_or(ExitCode::NothingToDo)
    }
}
