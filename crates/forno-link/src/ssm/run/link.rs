//! The link itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::connect::establish;
use super::exec::{self, Limits};
use super::host::Host;
use super::target::SsmTarget;
use crate::link::{Command, Exit, Link, Sink};
use crate::transfer::{self, Progress};
use crate::{Error, Watch};

/// For the last script.
const CLOSING: Duration = Duration::from_secs(10);

/// A link over Run Command.
#[derive(Debug)]
pub struct SsmLink {
    host: Arc<Host>,
}

impl SsmLink {
    pub(super) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }

    pub fn target(&self) -> &SsmTarget {
        &self.host.target
    }

    async fn exec_within(
        &self,
        command: Command,
        limits: Limits,
        sink: Box<dyn Sink>,
        cancel: &CancellationToken,
    ) -> Result<Exit, Error> {
        exec::run(Arc::clone(&self.host), command, limits, sink, cancel)
            .await
            .map_err(|kind| Error::new(self.host.target.peer(), kind))
    }
}

#[async_trait]
impl Link for SsmLink {
    fn peer(&self) -> String {
        self.host.target.peer()
    }

    fn user(&self) -> &str {
        &self.host.target.user
    }

    fn is_connected(&self) -> bool {
        self.host.check().is_ok()
    }

    async fn exec(
        &self,
        command: Command,
        sink: Box<dyn Sink>,
        cancel: &CancellationToken,
    ) -> Result<Exit, Error> {
        self.exec_within(command, Limits::default(), sink, cancel)
            .await
    }

    async fn reconnect(
        &self,
        within: Duration,
        watch: &Watch,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        self.host.lose("a new connection is being made");
        establish(&self.host, within, watch, cancel).await
    }

    async fn close(&self) {
        let last = self.is_connected() && self.host.has_errands();
        self.host.lose("closed");
        if last {
            // It leaves no copies behind but its own, which says nothing.
            let mut text = self.host.text("none");
            text.add("over ended");
            let done = self.host.order(&text, CLOSING).await;
            tracing::debug!(done, "closing");
        }
    }

    async fn download_file(
        &self,
        from: &str,
        to: &Path,
        sudo: bool,
        progress: Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let link = Downloading(self);
        transfer::download_file(&link, from, to, sudo, progress, cancel).await
    }

    async fn download_tree(
        &self,
        from: &str,
        to: &Path,
        sudo: bool,
        progress: Progress,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let link = Downloading(self);
        transfer::download_tree(&link, from, to, sudo, progress, cancel).await
    }

    fn as_link(&self) -> &dyn Link {
        self
    }
}

/// Without a store, a file comes in pieces of some KiB each few seconds: refused
/// when it is large, while a step's output may take its time.
#[derive(Debug)]
struct Downloading<'a>(&'a SsmLink);

const LARGE: u64 = 1 << 20;

#[async_trait]
impl Link for Downloading<'_> {
    fn peer(&self) -> String {
        self.0.peer()
    }

    fn user(&self) -> &str {
        self.0.user()
    }

    fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    async fn exec(
        &self,
        command: Command,
        sink: Box<dyn Sink>,
        cancel: &CancellationToken,
    ) -> Result<Exit, Error> {
        let output = self.0.target().store.is_none().then_some(LARGE);
        self.0
            .exec_within(command, Limits { output }, sink, cancel)
            .await
    }

    async fn reconnect(
        &self,
        within: Duration,
        watch: &Watch,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        self.0.reconnect(within, watch, cancel).await
    }

    async fn close(&self) {
        self.0.close().await;
    }

    fn as_link(&self) -> &dyn Link {
        self
    }
}
