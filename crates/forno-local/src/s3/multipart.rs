//! Objects in parts: begun, filled in any order, completed into one or given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::body::{into_file, into_text};
use super::buckets::{bucket, bucket_mut};
use super::checksum::{Algorithm, decode, encode};
use super::error::{invalid_argument, malformed, no_such_upload};
use super::files::{self, NewFile};
use super::headers::{self, OF_NEW_OBJECTS, quoted};
use super::list::{owner, time};
use super::objects::{now, place};
use super::reply::Reply;
use super::request::Request;
use crate::api::error::ApiError;
use crate::service::Service;
use crate::state::buckets::{Bucket, Checksum, Object, Part, Upload};

/// Every part but the last must be so large.
const SMALLEST_PART: u64 = 5 << 20;
const MOST_PARTS: u32 = 10_000;
const PAGE: u32 = 1000;

pub(super) async fn create(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    request.check(
        &["uploads"],
        &[OF_NEW_OBJECTS.as_slice(), &["x-amz-checksum-type"]].concat(),
    )?;
    let kept = headers::of_new_object(&request)?;
    let algorithm = headers::checksum_algorithm(&request)?;
    let checksum = match (algorithm, request.header("x-amz-checksum-type")) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(super::error::invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            ));
        }
        (Some(algorithm), kind) => {
            let whole = match kind {
                Some("FULL_OBJECT") => true,
                Some("COMPOSITE") => false,
                None => algorithm == Algorithm::Crc64Nvme,
                Some(other) => {
                    return Err(invalid_argument(format!("{other} is no checksum type")));
                }
            };
            let possible = if whole {
                algorithm.adds_up()
            } else {
                algorithm != Algorithm::Crc64Nvme
            };
            if !possible {
                return Err(super::error::invalid_request(format!(
                    "The checksum type cannot be used with the {} checksum algorithm.",
                    algorithm.name()
                )));
            }
            Some((algorithm.name().to_owned(), whole))
        }
    };
    let (name, key, region) = place(&request);
    let id = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    let upload = Upload {
        key,
        started: now(),
        headers: kept,
        checksum: checksum.clone(),
        parts: BTreeMap::new(),
    };
    let known = id.clone();
    files::change(service, move |buckets| {
        bucket_mut(buckets, &name, region)?
            .uploads
            .insert(known, upload);
        Ok(((), Vec::new()))
    })
    .await?;
    let reply = Reply::xml("InitiateMultipartUploadResult", |xml| {
        xml.text("Bucket", request.bucket())
            .text("Key", request.key())
            .text("UploadId", &id);
    });
    let reply = reply.with_named("x-amz-server-side-encryption", "AES256");
    Ok(match checksum {
        Some((algorithm, whole)) => reply
            .with_named("x-amz-checksum-algorithm", algorithm.to_ascii_uppercase())
            .with_named(
                "x-amz-checksum-type",
                if whole { "FULL_OBJECT" } else { "COMPOSITE" },
            ),
        None => reply,
    })
}

fn upload<'a>(bucket: &'a Bucket, id: &str, key: &str) -> Result<&'a Upload, ApiError> {
    let upload = bucket.uploads.get(id);
    upload
        .filter(|upload| upload.key == key)
        .ok_or_else(no_such_upload)
}

pub(super) async fn put_part(
    service: &Arc<Service>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    request.check(&["partNumber", "uploadId"], &[])?;
    let number = request.number("partNumber", 1..=MOST_PARTS)?.unwrap_or(1);
    let id = request.require("uploadId")?.to_owned();
    let (name, key, region) = place(&request);
    let wanted = service.store.read(|world| {
        let upload = upload(bucket(&world.buckets, &name, region)?, &id, &key)?;
        let algorithm = upload.checksum.as_ref();
        Ok::<_, ApiError>(algorithm.and_then(|(name, _)| Algorithm::find(name)))
    })?;
    let mut file = NewFile::create(&service.fleet.folder.objects()).await?;
    let received = into_file(&mut request, &mut file, wanted).await?;
    if let (Some(wanted), Some(given)) = (wanted, &received.checksum)
        && wanted.name() != given.algorithm
    {
        return Err(super::error::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            wanted.name(),
            given.algorithm
        )));
    }
    let part = files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        let upload = bucket.uploads.get_mut(&id).ok_or_else(no_such_upload)?;
        let part = Part {
            piece: file.keep(),
            etag: hex::encode(received.md5),
            modified: now(),
            checksum: received.checksum,
        };
        let before = upload.parts.insert(number, part.clone());
        Ok((part, before.map(|part| part.piece).into_iter().collect()))
    })
    .await?;
    let reply = Reply::empty().with_named("etag", quoted(&part.etag));
    Ok(match &part.checksum {
        Some(checksum) => reply.with_named(
            &format!("x-amz-checksum-{}", checksum.algorithm),
            &checksum.value,
        ),
        None => reply,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    #[serde(rename = "@xmlns", default)]
    _namespace: Option<String>,
    #[serde(rename = "Part", default)]
    parts: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Named {
    part_number: u32,
    #[serde(rename = "ETag")]
    etag: String,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
    #[serde(rename = "ChecksumSHA1")]
    sha1: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

impl Named {
    fn checksum(&self, algorithm: &str) -> Option<&str> {
        match Algorithm::find(algorithm)? {
            Algorithm::Crc32 => self.crc32.as_deref(),
            Algorithm::Crc32c => self.crc32c.as_deref(),
            Algorithm::Crc64Nvme => self.crc64nvme.as_deref(),
            Algorithm::Sha1 => self.sha1.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }

    /// Whether a part is the one that is meant.
    fn is(&self, part: &Part) -> bool {
        let same = part.checksum.as_ref().is_none_or(|checksum| {
            self.checksum(&checksum.algorithm)
                .is_none_or(|stated| stated == checksum.value)
        });
        self.etag.trim_matches('"') == part.etag && same
    }
}

pub(super) async fn complete(
    service: &Arc<Service>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    request.check(&["uploadId"], &["x-amz-mp-object-size"])?;
    let id = request.require("uploadId")?.to_owned();
    // Checksums in the head of this request are of the object, not of its text.
    let stated: Vec<(Algorithm, String)> = Algorithm::ALL
        .into_iter()
        .filter_map(|algorithm| {
            let header = format!("x-amz-checksum-{}", algorithm.name());
            let value = request.headers.remove(&header)?;
            Some((algorithm, value.to_str().ok()?.to_owned()))
        })
        .collect();
    let kind = request.headers.remove("x-amz-checksum-type");
    let text = into_text(&mut request).await?;
    let input: Complete =
        quick_xml::de::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
    let (name, key, region) = place(&request);
    let (if_match, if_none_match) = (request.owned("if-match"), request.owned("if-none-match"));
    let size = request.owned("x-amz-mp-object-size");
    let object = files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        let begun = upload(bucket, &id, &key)?;
        let object = join(begun, &input.parts)?;
        for (algorithm, value) in &stated {
            let found = object.checksum.as_ref();
            let same = found
                .is_some_and(|found| found.algorithm == algorithm.name() && found.value == *value);
            if !same {
                return Err(super::error::bad_digest(algorithm.name()));
            }
        }
        let typed = object.checksum.as_ref().map(headers::checksum_type);
        if kind.is_some_and(|kind| kind.to_str().ok() != typed) {
            return Err(super::error::invalid_request(
                "The upload was created using another checksum type",
            ));
        }
        if size.is_some_and(|size| size != object.size.to_string()) {
            return Err(super::error::invalid_request(
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ));
        }
        let there = bucket.objects.get(&key);
        headers::check_write(if_match.as_deref(), if_none_match.as_deref(), there)?;
        let upload = bucket.uploads.remove(&id);
        let before = bucket.objects.insert(key, object.clone());
        let parts = upload.into_iter().flat_map(|upload| upload.parts);
        let mut gone: Vec<_> = parts
            .map(|(_, part)| part.piece)
            .filter(|piece| !object.pieces.contains(piece))
            .collect();
        gone.extend(before.into_iter().flat_map(|object| object.pieces));
        Ok((object, gone))
    })
    .await?;
    let location = format!("{}/{}/{}", service.url, request.bucket(), request.key());
    Ok(Reply::xml("CompleteMultipartUploadResult", |xml| {
        xml.text("Location", location)
            .text("Bucket", request.bucket())
            .text("Key", request.key())
            .text("ETag", quoted(&object.etag));
        if let Some(checksum) = &object.checksum {
            let name = format!("Checksum{}", checksum.algorithm.to_ascii_uppercase());
            xml.text(&name, &checksum.value)
                .text("ChecksumType", headers::checksum_type(checksum));
        }
    })
    .with_named("x-amz-server-side-encryption", "AES256"))
}

/// The object that parts make.
fn join(upload: &Upload, named: &[Named]) -> Result<Object, ApiError> {
    if named.is_empty() {
        return Err(malformed("it names no parts"));
    }
    if !named.is_sorted_by(|a, b| a.part_number < b.part_number) {
        return Err(ApiError::new(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
        ));
    }
    let mut parts = Vec::new();
    for one in named {
        let part = upload.parts.get(&one.part_number);
        let part = part.filter(|part| one.is(part)).ok_or_else(|| {
            ApiError::new(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the \
                 specified entity tag may not match the part's entity tag.",
            )
        })?;
        parts.push(part);
    }
    let small = |part: &&Part| part.piece.size < SMALLEST_PART;
    if parts.iter().rev().skip(1).any(small) {
        return Err(ApiError::new(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
        ));
    }
    let digests = parts.iter().filter_map(|part| hex::decode(&part.etag).ok());
    let etag = md5::compute(digests.flatten().collect::<Vec<u8>>());
    Ok(Object {
        pieces: parts.iter().map(|part| part.piece.clone()).collect(),
        size: parts.iter().map(|part| part.piece.size).sum(),
        etag: format!("{etag:x}-{}", parts.len()),
        modified: now(),
        headers: upload.headers.clone(),
        checksum: upload
            .checksum
            .as_ref()
            .and_then(|(name, whole)| checksum(Algorithm::find(name)?, *whole, &parts)),
    })
}

/// The checksum of an object by those of its parts.
fn checksum(algorithm: Algorithm, whole: bool, parts: &[&Part]) -> Option<Checksum> {
    let of = |part: &&Part| decode(&part.checksum.as_ref()?.value);
    let value = if whole {
        let mut parts = parts.iter();
        let mut joined = of(parts.next()?)?;
        for part in parts {
            joined = algorithm.join(&joined, &of(part)?, part.piece.size)?;
        }
        encode(&joined)
    } else {
        let mut running = algorithm.start();
        for part in parts {
            running.update(&of(part)?);
        }
        format!("{}-{}", encode(&running.finish()), parts.len())
    };
    Some(Checksum {
        algorithm: algorithm.name().to_owned(),
        value,
        composite: !whole,
    })
}

pub(super) async fn abort(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    request.check(&["uploadId"], &[])?;
    let id = request.require("uploadId")?.to_owned();
    let (name, key, region) = place(&request);
    files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        upload(bucket, &id, &key)?;
        let gone = bucket.uploads.remove(&id);
        let parts = gone.into_iter().flat_map(|upload| upload.parts);
        Ok(((), parts.map(|(_, part)| part.piece).collect()))
    })
    .await?;
    Ok(Reply::deleted())
}

pub(super) fn list_parts(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(&["max-parts", "part-number-marker", "uploadId"], &[])?;
    let id = request.require("uploadId")?;
    let most = request
        .number("max-parts", 1..=u32::MAX)?
        .unwrap_or(PAGE)
        .min(PAGE);
    let after = request
        .number("part-number-marker", 0..=u32::MAX)?
        .unwrap_or(0);
    service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        let upload = upload(bucket, id, request.key())?;
        let rest = upload.parts.iter().filter(|(number, _)| **number > after);
        let size = usize::try_from(most).unwrap_or(usize::MAX);
        let page: Vec<_> = rest.clone().take(size).collect();
        let more = rest.count() > page.len();
        Ok(Reply::xml("ListPartsResult", |xml| {
            xml.text("Bucket", request.bucket())
                .text("Key", request.key())
                .text("UploadId", id)
                .text("PartNumberMarker", after);
            if more && let Some((last, _)) = page.last() {
                xml.text("NextPartNumberMarker", last);
            }
            xml.text("MaxParts", most).text("IsTruncated", more);
            for (number, part) in &page {
                xml.group("Part", |xml| {
                    xml.text("PartNumber", number)
                        .text("LastModified", time(part.modified))
                        .text("ETag", quoted(&part.etag))
                        .text("Size", part.piece.size);
                    if let Some(checksum) = &part.checksum {
                        let name = format!("Checksum{}", checksum.algorithm.to_ascii_uppercase());
                        xml.text(&name, &checksum.value);
                    }
                });
            }
            owner(xml);
            xml.text("StorageClass", "STANDARD");
            if let Some((algorithm, whole)) = &upload.checksum {
                xml.text("ChecksumAlgorithm", algorithm.to_ascii_uppercase())
                    .text(
                        "ChecksumType",
                        if *whole { "FULL_OBJECT" } else { "COMPOSITE" },
                    );
            }
        }))
    })
}

pub(super) fn list_uploads(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(
        &[
            "encoding-type",
            "key-marker",
            "max-uploads",
            "prefix",
            "upload-id-marker",
            "uploads",
        ],
        &[],
    )?;
    let most = request
        .number("max-uploads", 1..=u32::MAX)?
        .unwrap_or(PAGE)
        .min(PAGE);
    let as_url = request.parameter("encoding-type") == Some("url");
    let shown = |key: &str| {
        if as_url {
            crate::api::sigv4::encode(key).replace("%2F", "/")
        } else {
            key.to_owned()
        }
    };
    let marker = |name| request.parameter(name).unwrap_or_default();
    let (prefix, key_marker, id_marker) = (
        marker("prefix"),
        marker("key-marker"),
        marker("upload-id-marker"),
    );
    service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        let mut uploads: Vec<_> = bucket
            .uploads
            .iter()
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload.started))
            .filter(|(key, id, _)| {
                let later = *key > key_marker
                    || (*key == key_marker && !id_marker.is_empty() && *id > id_marker);
                key.starts_with(prefix) && (key_marker.is_empty() || later)
            })
            .collect();
        uploads.sort_unstable();
        let size = usize::try_from(most).unwrap_or(usize::MAX);
        let more = uploads.len() > size;
        uploads.truncate(size);
        Ok(Reply::xml("ListMultipartUploadsResult", |xml| {
            xml.text("Bucket", request.bucket())
                .text("KeyMarker", shown(key_marker))
                .text("UploadIdMarker", id_marker);
            if more && let Some((key, id, _)) = uploads.last() {
                xml.text("NextKeyMarker", shown(key))
                    .text("NextUploadIdMarker", id);
            }
            xml.text("Prefix", shown(prefix));
            if as_url {
                xml.text("EncodingType", "url");
            }
            xml.text("MaxUploads", most).text("IsTruncated", more);
            for (key, id, started) in &uploads {
                xml.group("Upload", |xml| {
                    xml.text("Key", shown(key)).text("UploadId", id);
                    owner(xml);
                    xml.text("StorageClass", "STANDARD")
                        .text("Initiated", time(*started));
                });
            }
        }))
    })
}
