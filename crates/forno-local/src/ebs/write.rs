//! Writing: a snapshot is started, empty or as another one, blocks are put into it, and it
//! is sealed.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::time::Instant;

use super::assembly::{Assembly, Started, lock};
use super::blocks::{SIZE, checksum};
use super::error::{conflict, internal, invalid, no_snapshot, validation};
use super::look::readable;
use super::request::{Reply, Request, checked};
use crate::api::error::ApiError;
use crate::ec2::NO_VOLUME;
use crate::fleet::{Capture, Order, Part};
use crate::service::{Performed, Service};
use crate::state::ids::Resource;
use crate::state::kms::key_of;
use crate::state::world::{ACCOUNT, Snapshot, SnapshotState, Tags};

/// The largest volume of EBS, in GiB.
const LARGEST: u32 = 65_536;

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StartSnapshot {
    volume_size: u32,
    parent_snapshot_id: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    description: Option<String>,
    client_token: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    timeout: Option<u64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

pub(super) async fn start(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    let mut input: StartSnapshot = request.input()?;
    let token = input.client_token.take();
    let asked = serde_json::to_string(&input).unwrap_or_default();
    let digest = hex::encode(sha2::Sha256::digest(asked));
    let tags = check(&input)?;
    let region = request.region.name;
    if let Some(started) = token.as_deref().and_then(|t| service.assemblies.started(t)) {
        if started.digest != digest {
            return Err(conflict());
        }
        let id = started.snapshot;
        let known = service.store.read(|world| {
            let state = world.regions.get(region)?;
            Some((
                state.snapshots.get(&id)?.clone(),
                state.tags.get(&id).cloned(),
            ))
        });
        let (snapshot, tags) = known.ok_or_else(|| no_snapshot(&id))?;
        let parent = input.parent_snapshot_id.as_deref();
        return Ok(told(region, &snapshot, parent, &tags.unwrap_or_default()));
    }
    let parent = match &input.parent_snapshot_id {
        Some(id) => Some(readable(service, &request, "StartSnapshot", checked(id)?)?),
        None => None,
    };
    if parent
        .as_ref()
        .is_some_and(|parent| parent.size_gib > input.volume_size)
    {
        return Err(validation(
            "INVALID_VOLUME_SIZE",
            "The volume is smaller than that of the parent snapshot",
        ));
    }
    let snapshot = begun(service, &input, parent.as_ref());
    let file = make_disk(&snapshot, parent.map(|parent| parent.disk)).await?;
    let patience = Duration::from_mins(input.timeout.unwrap_or(60));
    let assembly = Assembly {
        file,
        blocks: BTreeMap::new(),
        patience,
        touched: Instant::now(),
    };
    let (id, made, kept) = (snapshot.id.clone(), snapshot.clone(), tags.clone());
    let hide = request.marks.hide;
    service
        .perform(move |service| {
            service.store.change(|world| {
                let state = world.region(region);
                if !kept.is_empty() {
                    state.tags.insert(made.id.clone(), kept);
                }
                if !hide.is_zero() {
                    service.regime.hide([made.id.clone()], hide);
                }
                service.assemblies.begin(&made.id, assembly);
                if let Some(token) = token {
                    let snapshot = made.id.clone();
                    let started = Started { digest, snapshot };
                    service.assemblies.remember(&token, started);
                }
                state.snapshots.insert(made.id.clone(), made);
            });
            Ok(Performed {
                changed: true,
                ..Performed::default()
            })
        })
        .await?;
    give_up_in_time(service, region, id);
    let parent = input.parent_snapshot_id.as_deref();
    Ok(told(region, &snapshot, parent, &tags))
}

/// What a call asks for, as far as it can be judged by itself; its tags.
fn check(input: &StartSnapshot) -> Result<Tags, ApiError> {
    if !(1..=LARGEST).contains(&input.volume_size) {
        return Err(validation(
            "INVALID_VOLUME_SIZE",
            format!("A volume has from 1 to {LARGEST} GiB"),
        ));
    }
    if input.parent_snapshot_id.is_some() && input.encrypted.is_some() {
        return Err(validation(
            "INVALID_DEPENDENCY_REQUEST",
            "Encrypted cannot be used with ParentSnapshotId",
        ));
    }
    if input.kms_key_arn.is_some() && input.encrypted != Some(true) {
        return Err(validation(
            "INVALID_DEPENDENCY_REQUEST",
            "KmsKeyArn requires Encrypted",
        ));
    }
    if input
        .timeout
        .is_some_and(|minutes| !(10..=4320).contains(&minutes))
    {
        return Err(invalid("Timeout must be from 10 to 4320 minutes"));
    }
    let mut tags = Tags::new();
    for Tag { key, value } in &input.tags {
        crate::ec2::check_tag(key, value)
            .map_err(|error| validation("INVALID_TAG", error.message()))?;
        if tags.insert(key.clone(), value.clone()).is_some() {
            return Err(validation("INVALID_TAG", format!("'{key}' is given twice")));
        }
    }
    Ok(tags)
}

fn begun(service: &Service, input: &StartSnapshot, parent: Option<&Snapshot>) -> Snapshot {
    let id = Resource::Snapshot.fresh();
    let now = Timestamp::now();
    Snapshot {
        owner: ACCOUNT.to_owned(),
        description: input.description.clone().unwrap_or_default(),
        volume: NO_VOLUME.to_owned(),
        lineage: Some(parent.map_or(id.as_str(), Snapshot::lineage).to_owned()),
        size_gib: input.volume_size,
        encrypted: parent.map_or(input.encrypted == Some(true), |parent| parent.encrypted),
        kms_key: match parent {
            Some(parent) => parent.kms_key.clone(),
            None => input.kms_key_arn.clone(),
        },
        state: SnapshotState::Pending { percent: 0 },
        started: now,
        completed: None,
        due: now,
        disk: service.fleet.folder.disks().join(format!("{id}.raw")),
        volume_accounts: Vec::new(),
        public: false,
        id,
    }
}

/// The disk of a new snapshot, empty or a copy of the parent's.
async fn make_disk(
    snapshot: &Snapshot,
    parent: Option<PathBuf>,
) -> Result<std::fs::File, ApiError> {
    let io = |error| internal("The disk cannot be made", error);
    if let Some(parent) = parent {
        let cancel = tokio_util::sync::CancellationToken::new();
        let copied = forno_machine::copy_disk(&parent, &snapshot.disk, |_| {}, &cancel).await;
        copied.map_err(|error| internal("The parent cannot be copied", error))?;
    }
    let (path, bytes) = (snapshot.disk.clone(), u64::from(snapshot.size_gib) << 30);
    let open = move || open_disk(&path, bytes);
    let opened = tokio::task::spawn_blocking(open).await;
    opened
        .map_err(|error| internal("The disk cannot be made", error))?
        .map_err(io)
}

fn open_disk(path: &Path, bytes: u64) -> std::io::Result<std::fs::File> {
    let mut options = fs_err::OpenOptions::new();
    let options = options.write(true).create(true).truncate(false);
    let file = options.open(path)?.into_file();
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    Ok(file)
}

/// A snapshot into which nothing is put for too long ends in error.
fn give_up_in_time(service: &Arc<Service>, region: &'static str, id: String) {
    let service = Arc::clone(service);
    let tasks = service.fleet.tasks.clone();
    tasks.spawn(async move {
        loop {
            let Some(assembly) = service.assemblies.find(&id) else {
                return;
            };
            let due = lock(&assembly)
                .as_ref()
                .map(|open| open.touched + open.patience);
            let Some(due) = due else { return };
            if due <= Instant::now() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = service.ending.cancelled() => return,
            }
        }
        service.assemblies.end(&id);
        let failed = |world: &mut crate::state::world::World| {
            if let Some(snapshot) = world.region(region).snapshots.get_mut(&id) {
                snapshot.state = SnapshotState::Error("nothing was written in time".to_owned());
            }
        };
        service.store.change_and_save(failed).await;
    });
}

fn told(region: &str, snapshot: &Snapshot, parent: Option<&str>, tags: &Tags) -> Reply {
    let listed: Vec<Value> = tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    let mut document = json!({
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.owner,
        "Status": snapshot.state.name(),
        "StartTime": snapshot.started.as_second(),
        "VolumeSize": snapshot.size_gib,
        "BlockSize": SIZE,
    });
    let key = key_of(region, snapshot.encrypted, snapshot.kms_key.as_ref());
    let more = [
        ("ParentSnapshotId", parent.map(Value::from)),
        ("KmsKeyArn", key.map(Value::from)),
        ("Tags", (!listed.is_empty()).then_some(listed.into())),
        (
            "Description",
            (!snapshot.description.is_empty()).then(|| snapshot.description.as_str().into()),
        ),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            document[name] = value;
        }
    }
    Reply::json(StatusCode::CREATED, &document)
}

/// A snapshot of the call's that exists, whatever its state.
fn known(service: &Service, request: &Request, action: &str) -> Result<Snapshot, ApiError> {
    let id = request.snapshot()?;
    let region = request.region.name;
    let found = service.store.change(|world| {
        let mut world = service.regime.veil(world, region, action);
        world.region(region).snapshots.get(id).cloned()
    });
    found
        .filter(|snapshot| snapshot.owner == ACCOUNT)
        .ok_or_else(|| no_snapshot(id))
}

fn sealed(id: &str) -> ApiError {
    validation(
        "INVALID_SNAPSHOT_ID",
        format!("The snapshot '{id}' is not one that blocks can be put into"),
    )
}

fn only_sha256(request: &Request) -> Result<(), ApiError> {
    match request.header("x-amz-checksum-algorithm") {
        Some("SHA256") => Ok(()),
        _ => Err(invalid("The checksum algorithm must be SHA256")),
    }
}

pub(super) async fn put(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    let snapshot = known(service, &request, "PutSnapshotBlock")?;
    let block = request.block()?;
    let length: usize = request
        .require_header("x-amz-data-length")?
        .parse()
        .map_err(|_| invalid("The data length is no number"))?;
    only_sha256(&request)?;
    if length != SIZE || request.body.len() != SIZE {
        return Err(validation(
            "INVALID_BLOCK",
            format!("A block has {SIZE} bytes"),
        ));
    }
    let given = request.require_header("x-amz-checksum")?;
    let sum = checksum(&request.body);
    if given != sum {
        return Err(validation(
            "INVALID_BLOCK",
            "The checksum is not that of the data",
        ));
    }
    let start = u64::from(block) * SIZE as u64;
    if start >= u64::from(snapshot.size_gib) << 30 {
        return Err(validation(
            "INVALID_BLOCK",
            format!("The block {block} is beyond the end of the volume"),
        ));
    }
    let assembly = service
        .assemblies
        .find(&snapshot.id)
        .ok_or_else(|| sealed(&snapshot.id))?;
    let id = snapshot.id;
    let written = tokio::task::spawn_blocking(move || {
        let mut assembly = lock(&assembly);
        let open = assembly.as_mut().ok_or_else(|| sealed(&id))?;
        open.file
            .write_all_at(&request.body, start)
            .map_err(|error| internal("The block cannot be written", error))?;
        let digest = sha2::Sha256::digest(&request.body);
        open.blocks.insert(block, digest.to_vec());
        open.touched = Instant::now();
        Ok(())
    });
    written
        .await
        .map_err(|error| internal("The writing broke off", error))??;
    Ok(Reply::json(StatusCode::CREATED, &json!({}))
        .with("x-amz-checksum", sum)
        .with("x-amz-checksum-algorithm", "SHA256"))
}

pub(super) async fn complete(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    let snapshot = known(service, &request, "CompleteSnapshot")?;
    let count: usize = request
        .require_header("x-amz-changedblockscount")?
        .parse()
        .map_err(|_| invalid("The count of changed blocks is no number"))?;
    let given = request.header("x-amz-checksum").map(str::to_owned);
    if given.is_some() {
        only_sha256(&request)?;
    }
    if let Some(method) = request.header("x-amz-checksum-aggregation-method")
        && method != "LINEAR"
    {
        return Err(invalid("The checksum aggregation method must be LINEAR"));
    }
    let id = snapshot.id;
    let assembly = service.assemblies.find(&id).ok_or_else(|| sealed(&id))?;
    let (region, marks) = (request.region.name, request.marks);
    service
        .perform(move |service| {
            let mut assembly = lock(&assembly);
            let open = assembly.as_ref().ok_or_else(|| sealed(&id))?;
            if open.blocks.len() != count {
                return Err(invalid(format!(
                    "{} blocks were written, and not {count}",
                    open.blocks.len()
                )));
            }
            if given.is_some_and(|given| given != open.checksum()) {
                return Err(invalid("The checksum is not that of the blocks"));
            }
            open.file
                .sync_all()
                .map_err(|error| internal("The disk cannot be written", error))?;
            *assembly = None;
            service.assemblies.end(&id);
            let due = Instant::now() + service.fleet.pace.snapshot;
            let part = Part {
                from: None,
                snapshot: id,
            };
            let capture = Capture {
                region: region.to_owned(),
                image: None,
                parts: vec![part],
                reboot: false,
                end: None,
                snapshot_due: due,
                image_due: due,
            };
            Ok(Performed {
                orders: vec![Order::Copy(capture)],
                marks,
                ..Performed::default()
            })
        })
        .await?;
    // As in EC2 it is completed a little later.
    Ok(Reply::json(
        StatusCode::ACCEPTED,
        &json!({ "Status": "pending" }),
    ))
}
