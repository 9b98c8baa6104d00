//! Snapshots: made by CreateImage, shown and deleted here.

use jiff::Timestamp;

use super::call::{Call, iso};
use super::tags::write_tags;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::fleet::Order;
use crate::state::ids::Resource;
use crate::state::kms::key_of;
use crate::state::world::{ACCOUNT, DEBIAN_ACCOUNT, Snapshot, SnapshotState};

const FILTERS: &[&str] = &[
    "description",
    "encrypted",
    "owner-alias",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "volume-id",
    "volume-size",
];

/// The documented id of a volume that is none.
pub(crate) const NO_VOLUME: &str = "vol-ffffffff";

/// A snapshot of this volume, before its copy is made.
pub(super) fn pending(
    call: &Call<'_>,
    volume: &str,
    size_gib: u32,
    encrypted: bool,
    kms_key: Option<String>,
    description: String,
) -> Snapshot {
    let id = Resource::Snapshot.fresh();
    Snapshot {
        owner: ACCOUNT.to_owned(),
        description,
        volume: volume.to_owned(),
        lineage: (volume == NO_VOLUME).then(|| id.clone()),
        size_gib,
        encrypted,
        kms_key,
        state: SnapshotState::Pending { percent: 0 },
        started: call.now,
        completed: None,
        due: call
            .now
            .checked_add(call.fleet.pace.snapshot)
            .unwrap_or(call.now),
        disk: call.fleet.folder.disks().join(format!("{id}.raw")),
        volume_accounts: Vec::new(),
        public: false,
        id,
    }
}

pub(super) fn describe_snapshots(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let (ids, owners) = (call.params.list("SnapshotId"), call.params.list("Owner"));
    let restorable_by = call.params.list("RestorableBy");
    if !ids.is_empty() && page.asked() {
        return Err(ApiError::combination(
            "The parameter snapshotSet cannot be used with the parameter maxResults",
        ));
    }
    let (now, region) = (call.now, call.region.name);
    let state = call.state();
    for id in &ids {
        Resource::Snapshot.check(id)?;
        if !state.snapshots.contains_key(*id) {
            return Err(Resource::Snapshot.not_found(id));
        }
    }
    let mut snapshots: Vec<&Snapshot> = state.snapshots.values().collect();
    snapshots.retain(|snapshot| {
        let asked = ids.is_empty() || ids.contains(&snapshot.id.as_str());
        let by = |whom: &[&str]| {
            whom.is_empty()
                || whom.iter().any(|who| match *who {
                    "self" => snapshot.owner == ACCOUNT,
                    "amazon" => snapshot.owner == DEBIAN_ACCOUNT,
                    id => snapshot.owner == id,
                })
        };
        asked
            && by(&owners)
            && (by(&restorable_by)
                || restorable_by.contains(&"all") && snapshot.owner == DEBIAN_ACCOUNT)
            && filters.select(state.tags_of(&snapshot.id), |filter| {
                filter_values(snapshot, filter, now)
            })
    });
    let (snapshots, next) = page.cut(snapshots, |snapshot| snapshot.id.clone());
    xml.list("snapshotSet", snapshots, |xml, snapshot| {
        xml.maybe("ownerAlias", owner_alias(snapshot));
        write_tags(xml, state.tags_of(&snapshot.id));
        xml.text("storageTier", "standard")
            .maybe("completionTime", snapshot.completed.map(iso))
            .text("snapshotId", &snapshot.id)
            .text("volumeId", &snapshot.volume)
            .text("status", snapshot.state.name());
        if let SnapshotState::Error(why) = &snapshot.state {
            xml.text("statusMessage", why);
        }
        xml.text("startTime", iso(snapshot.started))
            .text("progress", progress(snapshot, now))
            .text("ownerId", &snapshot.owner)
            .text("description", &snapshot.description)
            .text("volumeSize", snapshot.size_gib)
            .text("encrypted", snapshot.encrypted)
            .maybe(
                "kmsKeyId",
                key_of(region, snapshot.encrypted, snapshot.kms_key.as_ref()),
            );
    });
    xml.maybe("nextToken", next);
    Ok(())
}

fn owner_alias(snapshot: &Snapshot) -> Option<&'static str> {
    (snapshot.owner == DEBIAN_ACCOUNT).then_some("amazon")
}

/// That of the copy, but no further than its time has come.
fn progress(snapshot: &Snapshot, now: Timestamp) -> String {
    match snapshot.state {
        SnapshotState::Pending { percent } => {
            let whole = snapshot.due.duration_since(snapshot.started).as_millis();
            let past = now.duration_since(snapshot.started).as_millis();
            let due = (past * 100).checked_div(whole).unwrap_or(100);
            format!("{}%", i128::from(percent).min(due.max(0)))
        }
        SnapshotState::Completed => "100%".to_owned(),
        SnapshotState::Error(_) => "0%".to_owned(),
    }
}

fn filter_values(snapshot: &Snapshot, filter: &str, now: Timestamp) -> Vec<String> {
    vec![match filter {
        "description" => snapshot.description.clone(),
        "encrypted" => snapshot.encrypted.to_string(),
        "owner-alias" => {
            return owner_alias(snapshot)
                .map(str::to_owned)
                .into_iter()
                .collect();
        }
        "owner-id" => snapshot.owner.clone(),
        "progress" => progress(snapshot, now),
        "start-time" => iso(snapshot.started),
        "status" => snapshot.state.name().to_owned(),
        "storage-tier" => "standard".to_owned(),
        "volume-id" => snapshot.volume.clone(),
        "volume-size" => snapshot.size_gib.to_string(),
        _ => snapshot.id.clone(),
    }]
}

/// A snapshot of this account, by the id that a changing call names.
pub(super) fn own_snapshot<'w>(call: &'w mut Call<'_>) -> Result<&'w Snapshot, ApiError> {
    let id = call.params.require("SnapshotId")?;
    Resource::Snapshot.check(id)?;
    let snapshot = call
        .state()
        .snapshots
        .get(id)
        .ok_or_else(|| Resource::Snapshot.not_found(id))?;
    if snapshot.owner == ACCOUNT {
        return Ok(snapshot);
    }
    Err(ApiError::new(
        "UnauthorizedOperation",
        "You are not authorized to perform this operation.",
    )
    .with_status(http::StatusCode::FORBIDDEN))
}

pub(super) fn delete_snapshot(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let snapshot = own_snapshot(call)?.clone();
    let id = snapshot.id.as_str();
    let state = call.state();
    if let Some(image) = state.images.values().find(|image| image.stands_on(id)) {
        return Err(ApiError::new(
            "InvalidSnapshot.InUse",
            format!("The snapshot {id} is currently in use by {}", image.id),
        ));
    }
    let under_way = matches!(snapshot.state, SnapshotState::Pending { .. });
    let disk = snapshot.disk.clone();
    call.commit()?;
    let state = call.state();
    state.snapshots.remove(id);
    state.tags.remove(id);
    if under_way {
        call.order(Order::Abandon {
            snapshot: id.to_owned(),
        });
    }
    call.order(Order::RemoveDisk { disk });
    xml.text("return", true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_that_of_the_copy_and_of_the_time() {
        let started = Timestamp::UNIX_EPOCH;
        let after = |seconds| Timestamp::from_second(seconds).unwrap();
        let shown = |percent, due, now| {
            let snapshot = Snapshot {
                id: String::new(),
                owner: String::new(),
                description: String::new(),
                volume: String::new(),
                lineage: None,
                size_gib: 8,
                encrypted: false,
                kms_key: None,
                state: SnapshotState::Pending { percent },
                started,
                completed: None,
                due: after(due),
                disk: std::path::PathBuf::new(),
                volume_accounts: Vec::new(),
                public: false,
            };
            progress(&snapshot, after(now))
        };
        assert_eq!(shown(99, 40, 0), "0%");
        assert_eq!(shown(99, 40, 10), "25%");
        assert_eq!(shown(7, 40, 10), "7%");
        assert_eq!(shown(99, 40, 60), "99%");
        assert_eq!(shown(55, 0, 3), "55%", "at the pace of the copy");
    }
}
