//! The headers that an object is put with and shown with, and the conditions
//! under which a request is carried out.

use http::StatusCode;
use jiff::Timestamp;

use super::error::{invalid_argument, not_implemented, precondition};
use super::reply::Reply;
use super::request::Request;
use crate::api::error::ApiError;
use crate::state::buckets::{Checksum, Headers, Object};

/// Headers of HTTP that are kept.
const KEPT: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
const META: &str = "x-amz-meta-";
/// How much S3 takes of one's own.
const MOST_META: usize = 2048;

/// Headers of S3 that may come with a new object.
pub(super) const OF_NEW_OBJECTS: [&str; 5] = [
    "x-amz-meta-*",
    "x-amz-acl",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-checksum-algorithm",
];

/// What is kept of the headers of a new object.
pub(super) fn of_new_object(request: &Request) -> Result<Headers, ApiError> {
    let plain = |name: &str, fine: &[&str]| match request.header(name) {
        Some(value) if !fine.contains(&value) => {
            Err(not_implemented(format_args!("{name} {value}")))
        }
        _ => Ok(()),
    };
    plain("x-amz-acl", &["private", "bucket-owner-full-control"])?;
    plain("x-amz-storage-class", &["STANDARD"])?;
    plain("x-amz-server-side-encryption", &["AES256"])?;
    let mut kept = Headers::new();
    let mut own = 0;
    for (name, value) in &request.headers {
        let name = name.as_str();
        let is_own = name.starts_with(META);
        if !is_own && !KEPT.contains(&name) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if is_own {
            own += name.len() - META.len() + value.len();
        }
        kept.insert(name.to_owned(), value);
    }
    if own > MOST_META {
        return Err(ApiError::new(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    // How it was sent is no property of the object.
    if let Some(encoding) = kept.remove("content-encoding") {
        let parts = encoding.split(',').map(str::trim);
        let parts: Vec<&str> = parts.filter(|part| *part != "aws-chunked").collect();
        if !parts.is_empty() {
            kept.insert("content-encoding".to_owned(), parts.join(","));
        }
    }
    kept.entry("content-type".to_owned())
        .or_insert_with(|| "binary/octet-stream".to_owned());
    Ok(kept)
}

/// An object's headers in a reply. A presigned request may ask for others.
pub(super) fn show(mut reply: Reply, object: &Object, request: &Request) -> Reply {
    for (name, value) in &object.headers {
        let other = request.parameter(&format!("response-{name}"));
        reply = reply.with_named(name, other.unwrap_or(value));
    }
    for name in KEPT {
        if let Some(value) = request.parameter(&format!("response-{name}")) {
            reply = reply.with_named(name, value);
        }
    }
    reply = reply
        .with_named("etag", quoted(&object.etag))
        .with_named("last-modified", http_date(object.modified))
        .with_named("accept-ranges", "bytes")
        .with_named("x-amz-server-side-encryption", "AES256");
    let whole = request.header("range").is_none();
    if whole
        && request
            .header("x-amz-checksum-mode")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
        && let Some(checksum) = &object.checksum
    {
        reply = show_checksum(reply, checksum);
    }
    reply
}

pub(super) fn show_checksum(reply: Reply, checksum: &Checksum) -> Reply {
    reply
        .with_named(
            &format!("x-amz-checksum-{}", checksum.algorithm),
            &checksum.value,
        )
        .with_named("x-amz-checksum-type", checksum_type(checksum))
}

pub(super) fn checksum_type(checksum: &Checksum) -> &'static str {
    if checksum.composite {
        "COMPOSITE"
    } else {
        "FULL_OBJECT"
    }
}

pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// `Sun, 22 Nov 2026 10:00:00 GMT`
pub(super) fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Whether an object may be replaced, or made.
pub(super) fn check_write(
    if_match: Option<&str>,
    if_none_match: Option<&str>,
    present: Option<&Object>,
) -> Result<(), ApiError> {
    match if_none_match {
        Some("*") if present.is_some() => return Err(precondition("If-None-Match")),
        None | Some("*") => {}
        Some(_) => {
            return Err(not_implemented(
                "If-None-Match of anything but * when writing",
            ));
        }
    }
    match (if_match, present) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(super::error::no_such_key()),
        (Some(wanted), Some(object)) if names(wanted, &object.etag) => Ok(()),
        (Some(_), Some(_)) => Err(precondition("If-Match")),
    }
}

/// Whether an object is to be shown; `Some` is a reply without it.
pub(super) fn check_read(request: &Request, object: &Object) -> Result<Option<Reply>, ApiError> {
    if let Some(wanted) = request.header("if-match")
        && !names(wanted, &object.etag)
    {
        return Err(precondition("If-Match"));
    }
    if let Some(known) = request.header("if-none-match")
        && names(known, &object.etag)
    {
        let reply = Reply::status(StatusCode::NOT_MODIFIED);
        return Ok(Some(reply.with_named("etag", quoted(&object.etag))));
    }
    Ok(None)
}

fn names(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(|one| one.trim().trim_matches('"'))
        .any(|one| one == "*" || one == etag)
}

/// The part of an object that a `Range` header asks for, as first byte and
/// length; `None` is all of it.
pub(super) fn range(header: Option<&str>, size: u64) -> Result<Option<(u64, u64)>, ApiError> {
    // What is no single range of bytes is passed over, as HTTP has it.
    let Some((first, last)) = header
        .and_then(|header| header.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let unsatisfied = || {
        ApiError::new("InvalidRange", "The requested range is not satisfiable")
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
    };
    match (number(first), number(last)) {
        (None, Some(tail)) if first.is_empty() => {
            let length = tail.min(size);
            if length == 0 {
                return Err(unsatisfied());
            }
            Ok(Some((size - length, length)))
        }
        (Some(from), None) if last.is_empty() => {
            if from >= size {
                return Err(unsatisfied());
            }
            Ok(Some((from, size - from)))
        }
        (Some(from), Some(to)) if from <= to => {
            if from >= size {
                return Err(unsatisfied());
            }
            Ok(Some((from, to.min(size - 1) - from + 1)))
        }
        _ => Ok(None),
    }
}

/// The algorithm that a new upload asks for.
pub(super) fn checksum_algorithm(
    request: &Request,
) -> Result<Option<super::checksum::Algorithm>, ApiError> {
    match request.header("x-amz-checksum-algorithm") {
        None => Ok(None),
        Some(name) => super::checksum::Algorithm::find(name)
            .map(Some)
            .ok_or_else(|| invalid_argument(format!("{name} is no checksum algorithm"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range =
            |header, size| range(Some(header), size).map_err(|error| error.code().to_owned());
        assert_eq!(range("bytes=0-4", 10), Ok(Some((0, 5))));
        assert_eq!(range("bytes=8-99", 10), Ok(Some((8, 2))));
        assert_eq!(range("bytes=3-", 10), Ok(Some((3, 7))));
        assert_eq!(range("bytes=-4", 10), Ok(Some((6, 4))));
        assert_eq!(range("bytes=-40", 10), Ok(Some((0, 10))));
        for bad in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(range(bad, 10), Err("InvalidRange".to_owned()), "{bad}");
        }
        assert_eq!(range("bytes=0-", 0), Err("InvalidRange".to_owned()));
        for none in ["bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-"] {
            assert_eq!(range(none, 10), Ok(None), "{none}");
        }
    }
}
