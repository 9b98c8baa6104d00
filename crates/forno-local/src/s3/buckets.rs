//! Buckets: made, shown, removed.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use super::body::into_text;
use super::documents::TagSet;
use super::error::{malformed, no_such_bucket, not_implemented};
use super::files;
use super::objects::place;
use super::reply::Reply;
use super::request::Request;
use crate::api::error::ApiError;
use crate::service::Service;
use crate::state::buckets::{Bucket, Buckets};
use crate::state::regions::Region;

/// The region whose buckets have no location.
const FIRST_REGION: &str = "us-east-1";
/// Most buckets of an account.
const MOST: usize = 100;

/// A bucket, for a request that came to its region.
pub(super) fn bucket<'a>(
    buckets: &'a Buckets,
    name: &str,
    region: Region,
) -> Result<&'a Bucket, ApiError> {
    let bucket = buckets.get(name).ok_or_else(no_such_bucket)?;
    at_home(bucket, region)?;
    Ok(bucket)
}

pub(super) fn bucket_mut<'a>(
    buckets: &'a mut Buckets,
    name: &str,
    region: Region,
) -> Result<&'a mut Bucket, ApiError> {
    let bucket = buckets.get_mut(name).ok_or_else(no_such_bucket)?;
    at_home(bucket, region)?;
    Ok(bucket)
}

fn at_home(bucket: &Bucket, region: Region) -> Result<(), ApiError> {
    if bucket.region == region.name {
        return Ok(());
    }
    Err(ApiError::new(
        "PermanentRedirect",
        format!(
            "The bucket you are attempting to access must be addressed using the specified endpoint. It is in {}.",
            bucket.region
        ),
    )
    .with_status(StatusCode::MOVED_PERMANENTLY))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CreateBucketConfiguration {
    #[serde(rename = "@xmlns", default)]
    _namespace: Option<String>,
    location_constraint: Option<String>,
    tags: Option<TagSet>,
}

pub(super) async fn create(
    service: &Arc<Service>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    request.check(&[], &["x-amz-acl", "x-amz-object-ownership"])?;
    for (header, fine) in [
        ("x-amz-acl", "private"),
        ("x-amz-object-ownership", "BucketOwnerEnforced"),
    ] {
        if let Some(other) = request.header(header).filter(|value| *value != fine) {
            return Err(not_implemented(format_args!("{header} {other}")));
        }
    }
    let (name, _, here) = place(&request);
    if !is_name(&name) {
        return Err(ApiError::new(
            "InvalidBucketName",
            "The specified bucket is not valid.",
        ));
    }
    let text = into_text(&mut request).await?;
    let wanted = wanted(&text)?;
    let region = region(wanted.location_constraint.as_deref(), here)?;
    let tags = wanted.tags.unwrap_or_default().check()?;
    let location = format!("/{name}");
    files::change(service, move |buckets| {
        if let Some(there) = buckets.get(&name) {
            // As it was before there were other regions.
            return if there.region == region && region == FIRST_REGION {
                Ok(((), Vec::new()))
            } else {
                Err(ApiError::new(
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
                .with_status(StatusCode::CONFLICT))
            };
        }
        if buckets.len() >= MOST {
            return Err(ApiError::new(
                "TooManyBuckets",
                "You have attempted to create more buckets than allowed",
            ));
        }
        buckets.insert(
            name,
            Bucket {
                region: region.to_owned(),
                created: Timestamp::now(),
                tags,
                documents: std::collections::BTreeMap::new(),
                objects: std::collections::BTreeMap::new(),
                uploads: std::collections::BTreeMap::new(),
            },
        );
        Ok(((), Vec::new()))
    })
    .await?;
    Ok(Reply::empty().with(http::header::LOCATION, location))
}

/// What a request says about its bucket; it may say nothing.
fn wanted(text: &str) -> Result<CreateBucketConfiguration, ApiError> {
    if text.trim().is_empty() {
        return Ok(CreateBucketConfiguration::default());
    }
    quick_xml::de::from_str(text).map_err(|error| malformed(&error.to_string()))
}

/// Where a bucket is to be, as its request says it at an endpoint.
fn region(constraint: Option<&str>, here: Region) -> Result<&'static str, ApiError> {
    match constraint {
        None if here.name == FIRST_REGION => Ok(here.name),
        Some(region) if region == here.name && region != FIRST_REGION => Ok(here.name),
        Some(region) if here.name == FIRST_REGION && region != FIRST_REGION => Region::find(region)
            .map(|region| region.name)
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidLocationConstraint",
                    "The specified location-constraint is not valid",
                )
            }),
        Some(FIRST_REGION) if here.name == FIRST_REGION => Err(ApiError::new(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )),
        other => Err(ApiError::new(
            "IllegalLocationConstraintException",
            format!(
                "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
                other.unwrap_or("unspecified")
            ),
        )),
    }
}

/// The rules for names of buckets.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fine = |byte: u8| plain(byte) || byte == b'-' || byte == b'.';
    let reserved_start = ["xn--", "sthree-", "amzn-s3-demo-"];
    let reserved_end = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    (3..=63).contains(&name.len())
        && name.bytes().all(fine)
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !reserved_start.iter().any(|start| name.starts_with(start))
        && !reserved_end.iter().any(|end| name.ends_with(end))
}

pub(super) fn head(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(&[], &[])?;
    service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        Ok(Reply::empty().with_named("x-amz-bucket-region", &bucket.region))
    })
}

pub(super) fn location(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(&["location"], &[])?;
    // Of all regions, so that one can ask where a bucket is.
    let region = service
        .store
        .read(|world| {
            let bucket = world.buckets.get(request.bucket())?;
            Some(bucket.region.clone())
        })
        .ok_or_else(no_such_bucket)?;
    let shown = if region == FIRST_REGION { "" } else { &region };
    let namespace = Some("http://s3.amazonaws.com/doc/2006-03-01/");
    Ok(Reply::document(crate::api::xml::Xml::leaf(
        "LocationConstraint",
        namespace,
        shown,
    )))
}

pub(super) async fn delete(service: &Arc<Service>, request: Request) -> Result<Reply, ApiError> {
    request.check(&[], &[])?;
    let (name, _, region) = place(&request);
    files::change(service, move |buckets| {
        let there = bucket(buckets, &name, region)?;
        if !there.objects.is_empty() {
            return Err(ApiError::new(
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty",
            )
            .with_status(StatusCode::CONFLICT));
        }
        let gone = buckets.remove(&name);
        // Unfinished uploads go with their bucket.
        let uploads = gone.into_iter().flat_map(|bucket| bucket.uploads);
        let parts = uploads.flat_map(|(_, upload)| upload.parts);
        Ok(((), parts.map(|(_, part)| part.piece).collect()))
    })
    .await?;
    Ok(Reply::deleted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["abc", "forno-files.2026", "0-0", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "ab",
            &long,
            "Abc",
            "a_b",
            "-abc",
            "abc.",
            "a..b",
            "127.0.0.1",
            "xn--abc",
            "abc-s3alias",
            "a/b",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_location_fits_the_endpoint() {
        let constraint = |region: &str| {
            format!(
                "<CreateBucketConfiguration xmlns=\"x\"><LocationConstraint>{region}</LocationConstraint>\
                 </CreateBucketConfiguration>"
            )
        };
        let at = |here: &str, text: &str| {
            wanted(text)
                .and_then(|wanted| {
                    let here = Region::find(here).unwrap();
                    region(wanted.location_constraint.as_deref(), here)
                })
                .map_err(|error| error.code().to_owned())
        };
        assert_eq!(at("us-east-1", ""), Ok("us-east-1"));
        assert_eq!(at("us-east-1", &constraint("sa-east-1")), Ok("sa-east-1"));
        assert_eq!(at("sa-east-1", &constraint("sa-east-1")), Ok("sa-east-1"));
        let illegal = Err("IllegalLocationConstraintException".to_owned());
        assert_eq!(at("sa-east-1", ""), illegal);
        assert_eq!(at("sa-east-1", &constraint("eu-west-1")), illegal);
        let invalid = Err("InvalidLocationConstraint".to_owned());
        assert_eq!(at("us-east-1", &constraint("us-east-1")), invalid);
        assert_eq!(at("us-east-1", &constraint("mars")), invalid);
        assert_eq!(at("us-east-1", "<x>"), Err("MalformedXML".to_owned()));
    }
}
