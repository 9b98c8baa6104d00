//! The states that a bake waits for, and those from which they never come.
//!
//! A machine that ends while it should start fails its wait at once and with EC2's
//! reason, not at the deadline.

use crate::gateway::Gateway;
use crate::ids::{ImageId, InstanceId, SnapshotId};
use crate::image::{Image, ImageState};
use crate::instance::{Instance, InstanceState, StateReason};
use crate::snapshot::SnapshotState;
use crate::wait::{Probe, Wait, WaitError};

impl Gateway {
    /// Until the instance runs. One that ends on the way fails at once, with EC2's
    /// reason.
    pub async fn await_running(
        &self,
        id: &InstanceId,
        wait: Wait<'_>,
    ) -> Result<Instance, WaitError> {
        wait.of(id)
            .until(|| async {
                Ok(probe(self.instance(id).await?, |state| match state {
                    InstanceState::Running => Step::There,
                    InstanceState::Pending | InstanceState::Other(_) => Step::Coming,
                    _ => Step::Never,
                }))
            })
            .await
    }

    /// Until the instance has stopped.
    pub async fn await_stopped(
        &self,
        id: &InstanceId,
        wait: Wait<'_>,
    ) -> Result<Instance, WaitError> {
        wait.of(id)
            .until(|| async {
                Ok(probe(self.instance(id).await?, |state| match state {
                    InstanceState::Stopped => Step::There,
                    InstanceState::ShuttingDown | InstanceState::Terminated => Step::Never,
                    _ => Step::Coming,
                }))
            })
            .await
    }

    /// Until the instance is terminated, or EC2 has known nothing of it for the whole
    /// grace period.
    pub async fn await_terminated(&self, id: &InstanceId, wait: Wait<'_>) -> Result<(), WaitError> {
        let gone = wait
            .of(id)
            .until(|| async {
                Ok(probe(self.instance(id).await?, |state| match state {
                    InstanceState::Terminated => Step::There,
                    _ => Step::Coming,
                }))
            })
            .await;
        match gone {
            Ok(_) | Err(WaitError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Until the image can be launched from. The state told on the way has the
    /// progress of its snapshots in percent, which `progress` gets as well.
    pub async fn await_image(
        &self,
        id: &ImageId,
        wait: Wait<'_>,
        progress: impl Fn(u8) + Send + Sync,
    ) -> Result<Image, WaitError> {
        let progress = &progress;
        wait.of(id)
            .until(|| async move {
                let Some(image) = self.image(id).await? else {
                    return Ok(Probe::Missing);
                };
                if image.state == ImageState::Available {
                    progress(100);
                    return Ok(Probe::Ready(image));
                }
                if image.state.is_final_failure() {
                    return Ok(Probe::Failed {
                        state: image.state.to_string(),
                        reason: image.state_reason,
                    });
                }
                let mut state = image.state.to_string();
                if let Some(percent) = self.snapshot_progress(&image).await {
                    progress(percent);
                    state = format!("{state}, {percent} %");
                }
                Ok(Probe::Pending(state))
            })
            .await
    }

    /// Until all snapshots are completed; `progress` gets that of the slowest in percent.
    pub async fn await_snapshots(
        &self,
        ids: &[SnapshotId],
        wait: Wait<'_>,
        progress: impl Fn(u8) + Send + Sync,
    ) -> Result<(), WaitError> {
        let progress = &progress;
        let names: Vec<&str> = ids.iter().map(SnapshotId::as_str).collect();
        wait.of(names.join(", "))
            .until(|| async move {
                let mut slowest = None;
                for id in ids {
                    let Some(snapshot) = self.snapshot(id).await? else {
                        return Ok(Probe::Missing);
                    };
                    match snapshot.state {
                        SnapshotState::Completed => {}
                        SnapshotState::Error => {
                            let message = snapshot.state_message.unwrap_or_default();
                            let code = String::new();
                            return Ok(Probe::Failed {
                                state: format!("{id} in error"),
                                reason: Some(StateReason { code, message }),
                            });
                        }
                        _ => {
                            let percent = snapshot.percent.unwrap_or(0);
                            slowest = Some(slowest.map_or(percent, |other: u8| other.min(percent)));
                        }
                    }
                }
                progress(slowest.unwrap_or(100));
                Ok(match slowest {
                    None => Probe::Ready(()),
                    Some(percent) => Probe::Pending(format!("pending, {percent} %")),
                })
            })
            .await
    }

    /// The progress of the slowest snapshot. Without an answer there is simply none
    /// to show.
    async fn snapshot_progress(&self, image: &Image) -> Option<u8> {
        let mut slowest = None;
        for id in image.snapshots() {
            let snapshot = self.snapshot(id).await.ok()??;
            let percent = snapshot.percent?;
            slowest = Some(slowest.map_or(percent, |other: u8| other.min(percent)));
        }
        slowest
    }
}

enum Step {
    There,
    Coming,
    Never,
}

fn probe(instance: Option<Instance>, judge: impl Fn(&InstanceState) -> Step) -> Probe<Instance> {
    let Some(instance) = instance else {
        return Probe::Missing;
    };
    match judge(&instance.state) {
        Step::There => Probe::Ready(instance),
        Step::Coming => Probe::Pending(instance.state.to_string()),
        Step::Never => Probe::Failed {
            state: instance.state.to_string(),
            reason: instance.state_reason,
        },
    }
}
