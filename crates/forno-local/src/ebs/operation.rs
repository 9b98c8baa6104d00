//! Which operation a request is: a method and a path below `/snapshots`.

use std::sync::Arc;

use http::Method;

use super::request::{Reply, Request};
use super::{look, write};
use crate::api::error::ApiError;
use crate::service::Service;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    CompleteSnapshot,
    GetSnapshotBlock,
    ListChangedBlocks,
    ListSnapshotBlocks,
    PutSnapshotBlock,
    StartSnapshot,
}

const ALL: [Operation; 6] = [
    Operation::CompleteSnapshot,
    Operation::GetSnapshotBlock,
    Operation::ListChangedBlocks,
    Operation::ListSnapshotBlocks,
    Operation::PutSnapshotBlock,
    Operation::StartSnapshot,
];

/// The names of all operations.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().map(Operation::name)
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CompleteSnapshot => "CompleteSnapshot",
            Self::GetSnapshotBlock => "GetSnapshotBlock",
            Self::ListChangedBlocks => "ListChangedBlocks",
            Self::ListSnapshotBlocks => "ListSnapshotBlocks",
            Self::PutSnapshotBlock => "PutSnapshotBlock",
            Self::StartSnapshot => "StartSnapshot",
        }
    }

    /// The operation, with the snapshot and the block that its path names.
    pub(crate) fn find<'p>(
        method: &Method,
        path: &'p str,
    ) -> Result<(Self, &'p str, &'p str), ApiError> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let known = match (method, &parts[..]) {
            (&Method::POST, ["snapshots"]) => (Self::StartSnapshot, "", ""),
            (&Method::POST, ["snapshots", "completion", id]) => (Self::CompleteSnapshot, *id, ""),
            (&Method::GET, ["snapshots", id, "blocks"]) => (Self::ListSnapshotBlocks, *id, ""),
            (&Method::GET, ["snapshots", id, "changedblocks"]) => {
                (Self::ListChangedBlocks, *id, "")
            }
            (&Method::GET, ["snapshots", id, "blocks", index]) => {
                (Self::GetSnapshotBlock, *id, *index)
            }
            (&Method::PUT, ["snapshots", id, "blocks", index]) => {
                (Self::PutSnapshotBlock, *id, *index)
            }
            _ => {
                return Err(ApiError::new(
                    "UnknownOperationException",
                    "The EBS direct APIs have no such operation",
                )
                .with_status(http::StatusCode::NOT_FOUND));
            }
        };
        Ok(known)
    }

    pub(crate) async fn carry_out(
        self,
        service: &Arc<Service>,
        request: Request,
    ) -> Result<Reply, ApiError> {
        match self {
            Self::CompleteSnapshot => write::complete(service, request).await,
            Self::GetSnapshotBlock => look::get(service, request).await,
            Self::ListChangedBlocks => look::changed(service, request).await,
            Self::ListSnapshotBlocks => look::list(service, request).await,
            Self::PutSnapshotBlock => write::put(service, request).await,
            Self::StartSnapshot => write::start(service, request).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_operation() {
        let page = include_str!("../../../../docs/PROTOCOL.md");
        for name in names() {
            assert!(
                page.contains(&format!("`{name}`")),
                "PROTOCOL.md lacks {name}"
            );
        }
    }

    #[test]
    fn an_operation_is_a_method_and_a_path() {
        let find = |method, path| Operation::find(&method, path).ok();
        let id = "snap-12345678";
        assert_eq!(
            find(Method::PUT, "/snapshots/snap-12345678/blocks/7"),
            Some((Operation::PutSnapshotBlock, id, "7"))
        );
        assert_eq!(
            find(Method::POST, "/snapshots/completion/snap-12345678"),
            Some((Operation::CompleteSnapshot, id, ""))
        );
        for (method, path) in [
            (Method::GET, "/snapshots"),
            (Method::DELETE, "/snapshots/snap-12345678/blocks/7"),
            (Method::GET, "/snapshots/snap-12345678/blocks/7/8"),
            (Method::GET, "/"),
        ] {
            assert_eq!(find(method, path), None, "{path}");
        }
    }
}
