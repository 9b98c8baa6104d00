//! A machine, and what can be done to it.

use std::sync::Arc;

use forno_link::Link;

use crate::{
    Package, ReadyOptions, ReadyReport, SealOptions, SealReport, Step, StepContext, StepError,
    StepReport,
};

/// A running machine at the end of a link.
#[derive(Clone, Debug)]
pub struct Guest {
    link: Arc<dyn Link>,
}

impl Guest {
    pub fn new(link: Arc<dyn Link>) -> Self {
        Self { link }
    }

    pub fn link(&self) -> &Arc<dyn Link> {
        &self.link
    }

    /// Does one step, and tells everything about it: `StepStarted` for every
    /// attempt, `StepRetry` between them and `StepFinished` at the end are
    /// emitted here, by nobody else.
    ///
    /// An error means that the bake must not go on; what `on-failure` lets pass
    /// is a report with its error inside.
    pub async fn run(&self, step: &Step, ctx: &StepContext) -> Result<StepReport, StepError> {
        let _ = (step, ctx);
        todo!()
    }

    /// Waits until the machine has finished booting: cloud-init is through and
    /// the package manager is free. Emits `Waiting` only; the caller emits the
    /// start and end of the step.
    pub async fn wait_ready(
        &self,
        options: &ReadyOptions,
        ctx: &StepContext,
    ) -> Result<ReadyReport, StepError> {
        let _ = (options, ctx);
        todo!()
    }

    /// The installed packages, sorted by name.
    pub async fn packages(&self, ctx: &StepContext) -> Result<Vec<Package>, StepError> {
        let _ = ctx;
        todo!()
    }

    /// Makes the machine ready to become an image: forgets what is its own,
    /// looks for secrets, checks both, and syncs its disk. The link's
    /// connection stays; a new one can no longer be made. The machine must be
    /// stopped after it and not used again.
    pub async fn seal(
        &self,
        options: &SealOptions,
        ctx: &StepContext,
    ) -> Result<SealReport, StepError> {
        let _ = (options, ctx);
        todo!()
    }
}
