//! Single objects: put, shown, removed.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use jiff::Timestamp;
use serde::Deserialize;

use super::body::{into_file, into_text};
use super::buckets::{bucket, bucket_mut};
use super::error::{invalid_request, malformed, no_such_key};
use super::files::{self, NewFile};
use super::headers::{self, OF_NEW_OBJECTS};
use super::reply::Reply;
use super::request::Request;
use crate::api::error::ApiError;
use crate::service::Service;
use crate::state::buckets::Object;

/// Most keys of one DeleteObjects.
const MOST_DELETED: usize = 1000;

/// Parameters with which a presigned request chooses the headers of its reply.
const OVERRIDES: [&str; 6] = [
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];

pub(super) async fn put(service: &Arc<Service>, mut request: Request) -> Result<Reply, ApiError> {
    request.check(&[], &OF_NEW_OBJECTS)?;
    let kept = headers::of_new_object(&request)?;
    let wanted = headers::checksum_algorithm(&request)?;
    let (name, key, region) = place(&request);
    let (if_match, if_none_match) = (request.owned("if-match"), request.owned("if-none-match"));
    // Before anything is taken in, and once more when it is there.
    service.store.read(|world| {
        let there = bucket(&world.buckets, &name, region)?.objects.get(&key);
        headers::check_write(if_match.as_deref(), if_none_match.as_deref(), there)
    })?;
    let mut file = NewFile::create(&service.fleet.folder.objects()).await?;
    let received = into_file(&mut request, &mut file, wanted).await?;
    let object = files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        let there = bucket.objects.get(&key);
        headers::check_write(if_match.as_deref(), if_none_match.as_deref(), there)?;
        let piece = file.keep();
        let object = Object {
            size: piece.size,
            pieces: vec![piece],
            etag: hex::encode(received.md5),
            modified: now(),
            headers: kept,
            checksum: received.checksum,
        };
        let before = bucket.objects.insert(key, object.clone());
        Ok((
            object,
            before.map(|object| object.pieces).unwrap_or_default(),
        ))
    })
    .await?;
    let reply = Reply::empty()
        .with_named("etag", headers::quoted(&object.etag))
        .with_named("x-amz-server-side-encryption", "AES256");
    Ok(match &object.checksum {
        Some(checksum) => headers::show_checksum(reply, checksum),
        None => reply,
    })
}

pub(super) fn get(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(&OVERRIDES, &["x-amz-checksum-mode"])?;
    let object = find(service, request)?;
    if let Some(reply) = headers::check_read(request, &object)? {
        return Ok(reply);
    }
    let range = headers::range(request.header("range"), object.size)?;
    let (from, length) = range.unwrap_or((0, object.size));
    let reply = part(&object, range);
    let reply = headers::show(reply, &object, request).with(CONTENT_LENGTH, length);
    let folder = service.fleet.folder.objects();
    Ok(reply.of(files::body(folder, object.pieces, from, length)))
}

pub(super) fn head(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(&OVERRIDES, &["x-amz-checksum-mode"])?;
    let object = find(service, request)?;
    if let Some(reply) = headers::check_read(request, &object)? {
        return Ok(reply);
    }
    let range = headers::range(request.header("range"), object.size)?;
    let length = range.map_or(object.size, |(_, length)| length);
    let reply = part(&object, range);
    Ok(headers::show(reply, &object, request).with(CONTENT_LENGTH, length))
}

/// The reply to a request for a part of an object, or for all of it.
fn part(object: &Object, range: Option<(u64, u64)>) -> Reply {
    match range {
        None => Reply::empty(),
        Some((from, length)) => Reply::status(StatusCode::PARTIAL_CONTENT).with(
            CONTENT_RANGE,
            format!("bytes {from}-{}/{}", from + length - 1, object.size),
        ),
    }
}

fn find(service: &Service, request: &Request) -> Result<Object, ApiError> {
    service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        let object = bucket.objects.get(request.key());
        object.cloned().ok_or_else(no_such_key)
    })
}

pub(super) async fn delete(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    request.check(&[], &[])?;
    let (name, key, region) = place(&request);
    files::change(service, move |buckets| {
        let gone = bucket_mut(buckets, &name, region)?.objects.remove(&key);
        Ok(((), gone.map(|object| object.pieces).unwrap_or_default()))
    })
    .await?;
    Ok(Reply::deleted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Delete {
    #[serde(rename = "@xmlns", default)]
    _namespace: Option<String>,
    #[serde(rename = "Object")]
    objects: Vec<Named>,
    #[serde(default)]
    quiet: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Named {
    key: String,
}

pub(super) async fn delete_many(
    service: &Arc<Service>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    request.check(&["delete"], &[])?;
    let sealed = request.headers.keys().map(http::HeaderName::as_str);
    let sealed = sealed
        .chain(request.header("x-amz-trailer"))
        .any(|name| name == "content-md5" || name.starts_with("x-amz-checksum-"));
    if !sealed {
        return Err(invalid_request(
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        ));
    }
    let text = into_text(&mut request).await?;
    let input: Delete =
        quick_xml::de::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
    if input.objects.is_empty() || input.objects.len() > MOST_DELETED {
        return Err(malformed("it names no objects, or more than 1000"));
    }
    let (name, _, region) = place(&request);
    let keys: Vec<String> = input.objects.into_iter().map(|object| object.key).collect();
    let keys = files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        let gone = keys.iter().filter_map(|key| bucket.objects.remove(key));
        let gone = gone.flat_map(|object| object.pieces).collect();
        Ok((keys, gone))
    })
    .await?;
    Ok(Reply::xml("DeleteResult", |xml| {
        for key in keys.iter().filter(|_| !input.quiet) {
            xml.group("Deleted", |xml| {
                xml.text("Key", key);
            });
        }
    }))
}

/// What a change must know of its request.
pub(super) fn place(request: &Request) -> (String, String, crate::state::regions::Region) {
    (
        request.bucket().to_owned(),
        request.key().to_owned(),
        request.region,
    )
}

/// S3's times have no fractions in headers, and the two must not differ.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
