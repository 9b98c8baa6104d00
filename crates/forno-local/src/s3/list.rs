//! What buckets there are, and what is in one.

use std::ops::Bound;

use super::buckets::bucket;
use super::checksum::{decode, encode};
use super::error::{invalid_argument, not_implemented};
use super::headers::{checksum_type, quoted};
use super::reply::Reply;
use super::request::Request;
use crate::api::error::ApiError;
use crate::api::sigv4;
use crate::api::xml::Xml;
use crate::service::Service;
use crate::state::buckets::{Bucket, Object};
use crate::state::world::ACCOUNT;

/// Most keys of one page.
const MOST: u32 = 1000;
const MOST_BUCKETS: u32 = 10_000;

pub(super) fn buckets(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(
        &[
            "bucket-region",
            "continuation-token",
            "max-buckets",
            "prefix",
        ],
        &[],
    )?;
    let most = request.number("max-buckets", 1..=MOST_BUCKETS)?;
    let most = usize::try_from(most.unwrap_or(MOST_BUCKETS)).unwrap_or(usize::MAX);
    let after = token(request)?.unwrap_or_default();
    let prefix = request.parameter("prefix").unwrap_or_default();
    let only = request.parameter("bucket-region");
    let (found, more) = service.store.read(|world| {
        let mut found: Vec<_> = world
            .buckets
            .iter()
            .filter(|(name, bucket)| {
                name.as_str() > after.as_str()
                    && name.starts_with(prefix)
                    && only.is_none_or(|only| only == bucket.region)
            })
            .map(|(name, bucket)| (name.clone(), bucket.created, bucket.region.clone()))
            .take(most + 1)
            .collect();
        let more = found.len() > most;
        found.truncate(most);
        (found, more)
    });
    Ok(Reply::xml("ListAllMyBucketsResult", |xml| {
        owner(xml);
        xml.group("Buckets", |xml| {
            for (name, created, region) in &found {
                xml.group("Bucket", |xml| {
                    xml.text("Name", name)
                        .text("CreationDate", time(*created))
                        .text("BucketRegion", region);
                });
            }
        });
        if more && let Some((last, ..)) = found.last() {
            xml.text("ContinuationToken", encode(last.as_bytes()));
        }
    }))
}

/// A page of what is in a bucket.
struct Page<'a> {
    objects: Vec<(&'a str, &'a Object)>,
    prefixes: Vec<String>,
    /// What the next page comes after.
    next: Option<String>,
}

/// Keys in order after one of them; those that share a beginning up to the
/// delimiter are one entry together.
fn page<'a>(
    bucket: &'a Bucket,
    prefix: &str,
    delimiter: &str,
    after: &str,
    most: usize,
) -> Page<'a> {
    let mut page = Page {
        objects: Vec::new(),
        prefixes: Vec::new(),
        next: None,
    };
    let mut last: Option<String> = None;
    // An entry of several keys ends with the first delimiter after the prefix.
    let skipped = Some(after).filter(|after| {
        let rest = after.strip_prefix(prefix).unwrap_or_default();
        let end = (!delimiter.is_empty())
            .then(|| rest.find(delimiter))
            .flatten();
        end.is_some_and(|end| end + delimiter.len() == rest.len())
    });
    let start = if after < prefix {
        Bound::Included(prefix)
    } else {
        Bound::Excluded(after)
    };
    let keys = bucket
        .objects
        .range::<str, _>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix));
    let mut grouped: Option<String> = skipped.map(str::to_owned);
    for (key, object) in keys {
        if grouped.as_ref().is_some_and(|group| key.starts_with(group)) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == most {
            page.next = last;
            return page;
        }
        let rest = &key[prefix.len()..];
        let end = (!delimiter.is_empty())
            .then(|| rest.find(delimiter))
            .flatten();
        if let Some(end) = end {
            let group = key[..prefix.len() + end + delimiter.len()].to_owned();
            page.prefixes.push(group.clone());
            last = Some(group.clone());
            grouped = Some(group);
        } else {
            page.objects.push((key, object));
            last = Some(key.clone());
        }
    }
    page
}

pub(super) fn objects(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(
        &[
            "continuation-token",
            "delimiter",
            "encoding-type",
            "fetch-owner",
            "list-type",
            "max-keys",
            "prefix",
            "start-after",
        ],
        &["x-amz-optional-object-attributes"],
    )?;
    if request.parameter("list-type") != Some("2") {
        return Err(not_implemented("the first version of ListObjects"));
    }
    let as_url = match request.parameter("encoding-type") {
        None => false,
        Some("url") => true,
        Some(_) => {
            return Err(invalid_argument(
                "Invalid Encoding Method specified in Request",
            ));
        }
    };
    let most = request.number("max-keys", 0..=u32::MAX)?.unwrap_or(MOST);
    let most = most.min(MOST);
    let prefix = request.parameter("prefix").unwrap_or_default();
    let delimiter = request.parameter("delimiter").unwrap_or_default();
    let given = token(request)?;
    let start_after = request.parameter("start-after");
    let after = given.as_deref().or(start_after).unwrap_or_default();
    let with_owner = request.parameter("fetch-owner") == Some("true");
    let name = |text: &str| {
        if as_url {
            // Slashes stay, as S3 leaves them.
            sigv4::encode(text).replace("%2F", "/")
        } else {
            text.to_owned()
        }
    };
    service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        let size = usize::try_from(most).unwrap_or(usize::MAX);
        let page = if size == 0 {
            page(bucket, "\u{10ffff}", "", "", 0)
        } else {
            page(bucket, prefix, delimiter, after, size)
        };
        Ok(Reply::xml("ListBucketResult", |xml| {
            xml.text("Name", request.bucket())
                .text("Prefix", name(prefix));
            if !delimiter.is_empty() {
                xml.text("Delimiter", name(delimiter));
            }
            xml.text("MaxKeys", most)
                .text("KeyCount", page.objects.len() + page.prefixes.len())
                .text("IsTruncated", page.next.is_some());
            if as_url {
                xml.text("EncodingType", "url");
            }
            xml.maybe("ContinuationToken", request.parameter("continuation-token"))
                .maybe("StartAfter", start_after.map(name))
                .maybe(
                    "NextContinuationToken",
                    page.next.as_ref().map(|next| encode(next.as_bytes())),
                );
            for (key, object) in &page.objects {
                xml.group("Contents", |xml| {
                    xml.text("Key", name(key))
                        .text("LastModified", time(object.modified))
                        .text("ETag", quoted(&object.etag));
                    if let Some(checksum) = &object.checksum {
                        xml.text("ChecksumAlgorithm", checksum.algorithm.to_ascii_uppercase())
                            .text("ChecksumType", checksum_type(checksum));
                    }
                    xml.text("Size", object.size)
                        .text("StorageClass", "STANDARD");
                    if with_owner {
                        owner(xml);
                    }
                });
            }
            for prefix in &page.prefixes {
                xml.group("CommonPrefixes", |xml| {
                    xml.text("Prefix", name(prefix));
                });
            }
        }))
    })
}

fn token(request: &Request) -> Result<Option<String>, ApiError> {
    let Some(token) = request.parameter("continuation-token") else {
        return Ok(None);
    };
    decode(token)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Some)
        .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))
}

pub(super) fn owner(xml: &mut Xml) {
    xml.group("Owner", |xml| {
        xml.text("ID", ACCOUNT);
    });
}

/// `2026-11-22T10:00:00.000Z`
pub(super) fn time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entries(page: &Page<'_>) -> BTreeSet<String> {
        let objects = page.objects.iter().map(|(key, _)| (*key).to_owned());
        objects.chain(page.prefixes.iter().cloned()).collect()
    }

    fn bucket(keys: &BTreeSet<String>) -> Bucket {
        let object = Object {
            pieces: Vec::new(),
            size: 0,
            etag: String::new(),
            modified: jiff::Timestamp::UNIX_EPOCH,
            headers: std::collections::BTreeMap::new(),
            checksum: None,
        };
        Bucket {
            region: String::new(),
            created: jiff::Timestamp::UNIX_EPOCH,
            tags: std::collections::BTreeMap::new(),
            documents: std::collections::BTreeMap::new(),
            objects: keys
                .iter()
                .map(|key| (key.clone(), object.clone()))
                .collect(),
            uploads: std::collections::BTreeMap::new(),
        }
    }

    proptest! {
        /// Page by page or at once, the same is found, each entry once.
        #[test]
        fn pages_leave_nothing_out(keys in prop::collection::btree_set("[ab/]{1,5}", 0..30), prefix in "[ab/]{0,2}", delimiter in "/?", most in 1..5_usize) {
            let bucket = bucket(&keys);
            let whole = entries(&page(&bucket, &prefix, &delimiter, "", 1000));
            let expected: BTreeSet<String> = keys.iter().filter_map(|key| {
                let rest = key.strip_prefix(&prefix)?;
                let end = if delimiter.is_empty() { None } else { rest.find('/') };
                Some(end.map_or(key.clone(), |end| key[..=prefix.len() + end].to_owned()))
            }).collect();
            prop_assert_eq!(&whole, &expected);
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let page = page(&bucket, &prefix, &delimiter, &after, most);
                found.extend(entries(&page));
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            prop_assert_eq!(found.len(), whole.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), whole);
        }
    }
}
