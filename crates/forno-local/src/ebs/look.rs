//! Reading: which blocks of a snapshot hold data, which differ between two, and what is in
//! one.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::blocks::{Disk, LIFE, Named, SIZE, checksum};
use super::error::{denied, internal, invalid, no_snapshot, validation};
use super::request::{Reply, Request, checked};
use crate::api::error::ApiError;
use crate::service::Service;
use crate::state::world::{ACCOUNT, Snapshot, SnapshotState};

/// How many blocks a list tells at once.
const PAGE: std::ops::RangeInclusive<u32> = 100..=10_000;

/// A snapshot that can be read, for this action.
pub(super) fn readable(
    service: &Service,
    request: &Request,
    action: &str,
    id: &str,
) -> Result<Snapshot, ApiError> {
    let region = request.region.name;
    let found = service.store.change(|world| {
        let mut world = service.regime.veil(world, region, action);
        world.region(region).snapshots.get(id).cloned()
    });
    let snapshot = found.ok_or_else(|| no_snapshot(id))?;
    // Public ones cannot be read, but by accounts with which they are shared besides.
    let ours = snapshot.owner == ACCOUNT || snapshot.volume_accounts.iter().any(|a| a == ACCOUNT);
    if !ours {
        return Err(denied(format!("The snapshot '{id}' cannot be read")));
    }
    if snapshot.state != SnapshotState::Completed {
        return Err(validation(
            "INVALID_SNAPSHOT_ID",
            format!("The snapshot '{id}' is not completed"),
        ));
    }
    Ok(snapshot)
}

/// Work on disks, where it holds up nobody.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| internal("The reading broke off", error))?
        .map_err(|error| internal("The disk cannot be read", error))
}

pub(super) async fn get(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    let id = request.snapshot()?;
    let block = request.block()?;
    let token = request.query.get("blockToken").map(String::as_str);
    let token = token.ok_or_else(|| invalid("The parameter blockToken is missing"))?;
    let snapshot = readable(service, &request, "GetSnapshotBlock", id)?;
    let named = Named {
        snapshot: id,
        block,
    };
    let now = Timestamp::now().as_second();
    if !named.is_named_by(token, &service.assemblies.secret, now) {
        return Err(validation(
            "INVALID_BLOCK_TOKEN",
            "The block token is not valid for this block, or has expired",
        ));
    }
    let data = apart(move || Disk::open(&snapshot.disk)?.read(block)).await?;
    let (length, sum) = (data.len(), checksum(&data));
    Ok(Reply::of(StatusCode::OK, "application/octet-stream", data)
        .with("x-amz-data-length", length)
        .with("x-amz-checksum", sum)
        .with("x-amz-checksum-algorithm", "SHA256"))
}

pub(super) async fn list(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    let id = request.snapshot()?.to_owned();
    let page = Page::read(&request)?;
    let snapshot = readable(service, &request, "ListSnapshotBlocks", &id)?;
    let disk = snapshot.disk.clone();
    let (first, most) = (page.first, page.most);
    let blocks = apart(move || {
        let written = Disk::open(&disk)?.written()?;
        Ok(written.range(first..).copied().take(most + 1).collect())
    });
    let blocks: Vec<u32> = blocks.await?;
    let tokens = Tokens::new(service);
    Ok(page.reply(
        &snapshot,
        "Blocks",
        &tokens,
        &blocks,
        |block| json!({ "BlockIndex": block, "BlockToken": tokens.of(&id, *block) }),
    ))
}

/// A block that is not alike in two snapshots, and whether each has it.
struct Changed {
    block: u32,
    first: bool,
    second: bool,
}

pub(super) async fn changed(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    const ACTION: &str = "ListChangedBlocks";
    let second_id = request.snapshot()?.to_owned();
    let page = Page::read(&request)?;
    let second = readable(service, &request, ACTION, &second_id)?;
    let first = match request.query.get("firstSnapshotId") {
        Some(id) => Some(readable(service, &request, ACTION, checked(id)?)?),
        None => None,
    };
    if let Some(first) = &first
        && first.lineage() != second.lineage()
    {
        return Err(validation(
            "UNRELATED_SNAPSHOTS",
            "The snapshots are not of one volume, nor does one build on the other",
        ));
    }
    let disks = (
        first.as_ref().map(|one| one.disk.clone()),
        second.disk.clone(),
    );
    let (from, most) = (page.first, page.most);
    let changed = apart(move || compare(disks, from, most + 1)).await?;
    let tokens = Tokens::new(service);
    let first_id = first.map(|first| first.id);
    Ok(
        page.reply(&second, "ChangedBlocks", &tokens, &changed, |changed| {
            let mut told = json!({ "BlockIndex": changed.block });
            if let Some(id) = first_id.as_deref().filter(|_| changed.first) {
                told["FirstBlockToken"] = tokens.of(id, changed.block).into();
            }
            if changed.second {
                told["SecondBlockToken"] = tokens.of(&second_id, changed.block).into();
            }
            told
        }),
    )
}

/// The first so many blocks from one on that differ.
fn compare(
    (first, second): (Option<PathBuf>, PathBuf),
    from: u32,
    most: usize,
) -> std::io::Result<Vec<Changed>> {
    let second = Disk::open(&second)?;
    let of_second = second.written()?;
    let first = first.map(|path| Disk::open(&path)).transpose()?;
    let of_first = match &first {
        Some(disk) => disk.written()?,
        None => std::collections::BTreeSet::new(),
    };
    let mut changed = Vec::new();
    for block in of_first
        .union(&of_second)
        .copied()
        .filter(|block| *block >= from)
    {
        if changed.len() == most {
            break;
        }
        let (in_first, in_second) = (of_first.contains(&block), of_second.contains(&block));
        let alike = match &first {
            Some(first) if in_first && in_second => first.read(block)? == second.read(block)?,
            _ => false,
        };
        if !alike {
            changed.push(Changed {
                block,
                first: in_first,
                second: in_second,
            });
        }
    }
    Ok(changed)
}

/// Tokens of blocks that one reply tells.
struct Tokens<'a> {
    secret: &'a [u8],
    expires: i64,
}

impl<'a> Tokens<'a> {
    fn new(service: &'a Service) -> Self {
        Self {
            secret: &service.assemblies.secret,
            expires: Timestamp::now().as_second() + LIFE,
        }
    }

    fn of(&self, snapshot: &str, block: u32) -> String {
        Named { snapshot, block }.token(self.secret, self.expires)
    }
}

/// Which part of a list is asked for.
struct Page {
    first: u32,
    most: usize,
}

impl Page {
    fn read(request: &Request) -> Result<Self, ApiError> {
        let most = request.number("maxResults")?.unwrap_or(*PAGE.end());
        if !PAGE.contains(&most) {
            let (low, high) = (PAGE.start(), PAGE.end());
            return Err(invalid(format!("maxResults must be from {low} to {high}")));
        }
        let first = request.number("startingBlockIndex")?.unwrap_or(0);
        let first = match request.query.get("pageToken") {
            Some(token) => next_block(token)
                .ok_or_else(|| validation("INVALID_PAGE_TOKEN", "The page token is not valid"))?,
            None => first,
        };
        Ok(Self {
            first,
            most: usize::try_from(most).unwrap_or(usize::MAX),
        })
    }

    /// Tells the items of the page; there is one too many where more follow.
    fn reply<T>(
        &self,
        snapshot: &Snapshot,
        name: &str,
        tokens: &Tokens<'_>,
        items: &[T],
        tell: impl Fn(&T) -> Value,
    ) -> Reply {
        let told: Vec<Value> = items.iter().take(self.most).map(tell).collect();
        let mut document = json!({
            "ExpiryTime": tokens.expires,
            "VolumeSize": snapshot.size_gib,
            "BlockSize": SIZE,
        });
        if items.len() > self.most
            && let Some(last) = told.last().and_then(|last| last["BlockIndex"].as_u64())
        {
            let next = STANDARD.encode(format!("from {}", last + 1));
            document["NextToken"] = next.into();
        }
        document[name] = told.into();
        Reply::json(StatusCode::OK, &document)
    }
}

fn next_block(token: &str) -> Option<u32> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    text.strip_prefix("from ")?.parse().ok()
}
