//! Which operation a request is: S3 has no names on the wire, only methods,
//! paths and what stands in the query.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::documents::{self, Kind};
use super::error::not_implemented;
use super::reply::Reply;
use super::request::{Address, Request};
use super::{buckets, list, multipart, objects};
use crate::api::error::ApiError;
use crate::service::Service;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteBucketDocument(Kind),
    DeleteBucketTagging,
    DeleteObject,
    DeleteObjects,
    GetBucketDocument(Kind),
    GetBucketLocation,
    GetBucketTagging,
    GetObject,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListMultipartUploads,
    ListObjectsV2,
    ListParts,
    PutBucketDocument(Kind),
    PutBucketTagging,
    PutObject,
    UploadPart,
}

/// The names of all operations.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    use Operation as O;
    let kinds = [Kind::Lifecycle, Kind::Encryption, Kind::PublicAccess];
    let documents = kinds.into_iter().flat_map(|kind| {
        [
            O::DeleteBucketDocument(kind),
            O::GetBucketDocument(kind),
            O::PutBucketDocument(kind),
        ]
    });
    [
        O::AbortMultipartUpload,
        O::CompleteMultipartUpload,
        O::CreateBucket,
        O::CreateMultipartUpload,
        O::DeleteBucket,
        O::DeleteBucketTagging,
        O::DeleteObject,
        O::DeleteObjects,
        O::GetBucketLocation,
        O::GetBucketTagging,
        O::GetObject,
        O::HeadBucket,
        O::HeadObject,
        O::ListBuckets,
        O::ListMultipartUploads,
        O::ListObjectsV2,
        O::ListParts,
        O::PutBucketTagging,
        O::PutObject,
        O::UploadPart,
    ]
    .into_iter()
    .chain(documents)
    .map(Operation::name)
}

impl Operation {
    /// Its name in AWS's models, by which plans of faults know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::CreateBucket => "CreateBucket",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::DeleteBucket => "DeleteBucket",
            Self::DeleteBucketDocument(Kind::Lifecycle) => "DeleteBucketLifecycle",
            Self::DeleteBucketDocument(Kind::Encryption) => "DeleteBucketEncryption",
            Self::DeleteBucketDocument(Kind::PublicAccess) => "DeletePublicAccessBlock",
            Self::DeleteBucketTagging => "DeleteBucketTagging",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::GetBucketDocument(Kind::Lifecycle) => "GetBucketLifecycleConfiguration",
            Self::GetBucketDocument(Kind::Encryption) => "GetBucketEncryption",
            Self::GetBucketDocument(Kind::PublicAccess) => "GetPublicAccessBlock",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketTagging => "GetBucketTagging",
            Self::GetObject => "GetObject",
            Self::HeadBucket => "HeadBucket",
            Self::HeadObject => "HeadObject",
            Self::ListBuckets => "ListBuckets",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListParts => "ListParts",
            Self::PutBucketDocument(Kind::Lifecycle) => "PutBucketLifecycleConfiguration",
            Self::PutBucketDocument(Kind::Encryption) => "PutBucketEncryption",
            Self::PutBucketDocument(Kind::PublicAccess) => "PutPublicAccessBlock",
            Self::PutBucketTagging => "PutBucketTagging",
            Self::PutObject => "PutObject",
            Self::UploadPart => "UploadPart",
        }
    }

    pub(crate) fn find(
        method: &Method,
        address: &Address,
        query: &BTreeMap<String, String>,
    ) -> Result<Self, ApiError> {
        let has = |name: &str| query.contains_key(name);
        let known = match address {
            Address::Service => (*method == Method::GET).then_some(Self::ListBuckets),
            Address::Bucket(_) => Self::of_bucket(method, &has),
            Address::Object { .. } => Self::of_object(method, &has),
        };
        known.ok_or_else(|| match *method {
            Method::GET | Method::HEAD | Method::PUT | Method::POST | Method::DELETE => {
                not_implemented("this operation of S3")
            }
            _ => ApiError::new(
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
            .with_status(StatusCode::METHOD_NOT_ALLOWED),
        })
    }

    fn of_bucket(method: &Method, has: &dyn Fn(&str) -> bool) -> Option<Self> {
        // What S3 can tell of a bucket, and this endpoint cannot.
        const OTHERS: [&str; 18] = [
            "accelerate",
            "acl",
            "analytics",
            "cors",
            "intelligent-tiering",
            "inventory",
            "logging",
            "metrics",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "policyStatus",
            "replication",
            "requestPayment",
            "versioning",
            "versions",
            "website",
        ];
        if OTHERS.iter().any(|name| has(name)) {
            return None;
        }
        let kinds = [Kind::Lifecycle, Kind::Encryption, Kind::PublicAccess];
        let document = kinds.into_iter().find(|kind| has(kind.parameter()));
        match (method, document) {
            (&Method::GET, Some(kind)) => Some(Self::GetBucketDocument(kind)),
            (&Method::PUT, Some(kind)) => Some(Self::PutBucketDocument(kind)),
            (&Method::DELETE, Some(kind)) => Some(Self::DeleteBucketDocument(kind)),
            (&Method::GET, None) if has("location") => Some(Self::GetBucketLocation),
            (&Method::GET, None) if has("tagging") => Some(Self::GetBucketTagging),
            (&Method::GET, None) if has("uploads") => Some(Self::ListMultipartUploads),
            (&Method::GET, None) => Some(Self::ListObjectsV2),
            (&Method::PUT, None) if has("tagging") => Some(Self::PutBucketTagging),
            (&Method::PUT, None) => Some(Self::CreateBucket),
            (&Method::DELETE, None) if has("tagging") => Some(Self::DeleteBucketTagging),
            (&Method::DELETE, None) => Some(Self::DeleteBucket),
            (&Method::HEAD, None) => Some(Self::HeadBucket),
            (&Method::POST, None) if has("delete") => Some(Self::DeleteObjects),
            _ => None,
        }
    }

    fn of_object(method: &Method, has: &dyn Fn(&str) -> bool) -> Option<Self> {
        const OTHERS: [&str; 9] = [
            "acl",
            "attributes",
            "legal-hold",
            "restore",
            "retention",
            "select",
            "tagging",
            "torrent",
            "versionId",
        ];
        if OTHERS.iter().any(|name| has(name)) {
            return None;
        }
        match *method {
            Method::GET if has("uploadId") => Some(Self::ListParts),
            Method::GET => Some(Self::GetObject),
            Method::HEAD => Some(Self::HeadObject),
            Method::PUT if has("uploadId") => Some(Self::UploadPart),
            Method::PUT => Some(Self::PutObject),
            Method::POST if has("uploads") => Some(Self::CreateMultipartUpload),
            Method::POST if has("uploadId") => Some(Self::CompleteMultipartUpload),
            Method::DELETE if has("uploadId") => Some(Self::AbortMultipartUpload),
            Method::DELETE => Some(Self::DeleteObject),
            _ => None,
        }
    }

    pub(crate) async fn carry_out(
        self,
        service: &Arc<Service>,
        request: Request,
    ) -> Result<Reply, ApiError> {
        match self {
            Self::AbortMultipartUpload => multipart::abort(service, request).await,
            Self::CompleteMultipartUpload => multipart::complete(service, request).await,
            Self::CreateBucket => buckets::create(service, request).await,
            Self::CreateMultipartUpload => multipart::create(service, request).await,
            Self::DeleteBucket => buckets::delete(service, request).await,
            Self::DeleteBucketDocument(kind) => documents::delete(service, request, kind).await,
            Self::DeleteBucketTagging => documents::delete_tags(service, request).await,
            Self::DeleteObject => objects::delete(service, request).await,
            Self::DeleteObjects => objects::delete_many(service, request).await,
            Self::GetBucketDocument(kind) => documents::get(service, &request, kind),
            Self::GetBucketLocation => buckets::location(service, &request),
            Self::GetBucketTagging => documents::get_tags(service, &request),
            Self::GetObject => objects::get(service, &request),
            Self::HeadBucket => buckets::head(service, &request),
            Self::HeadObject => objects::head(service, &request),
            Self::ListBuckets => list::buckets(service, &request),
            Self::ListMultipartUploads => multipart::list_uploads(service, &request),
            Self::ListObjectsV2 => list::objects(service, &request),
            Self::ListParts => multipart::list_parts(service, &request),
            Self::PutBucketDocument(kind) => documents::put(service, request, kind).await,
            Self::PutBucketTagging => documents::put_tags(service, request).await,
            Self::PutObject => objects::put(service, request).await,
            Self::UploadPart => multipart::put_part(service, request).await,
        }
    }
}
