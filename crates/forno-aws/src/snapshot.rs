//! Snapshots: what images stand on, and where their progress shows.

use std::fmt;

use aws_sdk_ec2::operation::create_snapshot::CreateSnapshotError;
use aws_sdk_ec2::operation::delete_snapshot::DeleteSnapshotError;
use aws_sdk_ec2::types::{
    Filter, ResourceType, Snapshot as SdkSnapshot, SnapshotState as SdkSnapshotState,
};
use aws_smithy_types::retry::RetryConfig;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::convert::{Nonsense, count, non_empty, optional_id, required, timestamp};
use crate::error::Error;
use crate::gateway::{Clients, Gateway};
use crate::ids::{SnapshotId, VolumeId};
use crate::tag::{TagMatch, Tags, filter, tag_filters};

/// A snapshot as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub state: SnapshotState,
    /// Where errors of an encrypted copy show, and only there.
    pub state_message: Option<String>,
    pub percent: Option<u8>,
    pub size_gib: Option<u32>,
    pub volume: Option<VolumeId>,
    pub description: Option<String>,
    pub started: Option<Timestamp>,
    pub encrypted: bool,
    pub tags: Tags,
}

/// A snapshot to be made of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    pub volume: VolumeId,
    pub description: String,
    /// On it from the first moment.
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotState {
    Pending,
    Completed,
    Error,
    Other(String),
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Other(state) => state,
        })
    }
}

impl Gateway {
    /// Many at once, in one call; unknown ones are left out.
    pub async fn snapshots(&self, ids: &[SnapshotId]) -> Result<Vec<Snapshot>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(describe(self.clients(), ids)
            .await?
            .into_iter()
            .map(|(_, snapshot)| snapshot)
            .collect())
    }

    /// Our own snapshots with these tags.
    pub async fn snapshots_tagged(&self, conditions: &[TagMatch]) -> Result<Vec<Snapshot>, Error> {
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        find(self.clients(), tag_filters(conditions)).await
    }

    /// Starts the making of a snapshot. There is no client token and no name, so an attempt
    /// that may have made one is not repeated here: after an unknown outcome, look by tags.
    pub async fn create_snapshot(&self, snapshot: &NewSnapshot) -> Result<SnapshotId, Error> {
        let call = self.call("CreateSnapshot").on(&snapshot.volume);
        let once = RetryConfig::standard().with_max_attempts(1);
        let reply = self
            .clients()
            .ec2
            .create_snapshot()
            .volume_id(snapshot.volume.as_str())
            .description(&snapshot.description)
            .set_tag_specifications(snapshot.tags.specifications(&[ResourceType::Snapshot]))
            .customize()
            .config_override(aws_sdk_ec2::config::Builder::new().retry_config(once))
            .interceptor(call.watch::<CreateSnapshotError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let id = reply
            .snapshot_id
            .ok_or_else(|| call.malformed("no snapshot id in it"))?;
        SnapshotId::new(id).map_err(|error| call.malformed(error))
    }

    /// [`crate::Kind::DependencyViolation`] while an image stands on it.
    pub async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        let call = self.call("DeleteSnapshot").on(id);
        self.clients()
            .ec2
            .delete_snapshot()
            .snapshot_id(id.as_str())
            .customize()
            .interceptor(call.watch::<DeleteSnapshotError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }
}

/// Those of the ids that EC2 knows.
pub(crate) async fn describe(
    clients: &Clients,
    ids: &[SnapshotId],
) -> Result<Vec<(SnapshotId, Snapshot)>, Error> {
    let ids = filter("snapshot-id", ids.iter().map(SnapshotId::as_str));
    Ok(find(clients, vec![ids])
        .await?
        .into_iter()
        .map(|snapshot| (snapshot.id.clone(), snapshot))
        .collect())
}

async fn find(clients: &Clients, filters: Vec<Filter>) -> Result<Vec<Snapshot>, Error> {
    let call = clients.call("DescribeSnapshots");
    let pages = clients
        .ec2
        .describe_snapshots()
        .owner_ids("self")
        .set_filters(Some(filters))
        .into_paginator()
        .items()
        .send();
    pages
        .collect::<Result<Vec<SdkSnapshot>, _>>()
        .await
        .map_err(|error| call.failed(&error))?
        .into_iter()
        .map(Snapshot::from_sdk)
        .collect::<Result<_, _>>()
        .map_err(|nonsense| call.malformed(nonsense))
}

impl Snapshot {
    fn from_sdk(snapshot: SdkSnapshot) -> Result<Self, Nonsense> {
        Ok(Self {
            id: SnapshotId::new(required(snapshot.snapshot_id, "the snapshot id")?)?,
            state: match required(snapshot.state, "the state of a snapshot")? {
                SdkSnapshotState::Pending => SnapshotState::Pending,
                SdkSnapshotState::Completed => SnapshotState::Completed,
                SdkSnapshotState::Error => SnapshotState::Error,
                other => SnapshotState::Other(other.as_str().to_owned()),
            },
            state_message: non_empty(snapshot.state_message),
            percent: snapshot.progress.as_deref().and_then(percent),
            size_gib: count(snapshot.volume_size),
            // The volume of a copied snapshot is an arbitrary id (`vol-ffffffff`).
            volume: optional_id(snapshot.volume_id)?,
            description: non_empty(snapshot.description),
            started: timestamp(snapshot.start_time),
            encrypted: snapshot.encrypted.unwrap_or(false),
            tags: Tags::from_sdk(snapshot.tags),
        })
    }
}

/// `42%`; EC2 also leaves it out or empty.
fn percent(text: &str) -> Option<u8> {
    let number: u8 = text.trim().trim_end_matches('%').parse().ok()?;
    (number <= 100).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_percentage_or_nothing() {
        assert_eq!(percent("0%"), Some(0));
        assert_eq!(percent("100%"), Some(100));
        assert_eq!(percent("101%"), None);
        assert_eq!(percent(""), None);
        assert_eq!(percent("n/a"), None);
    }
}
