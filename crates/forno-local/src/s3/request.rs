//! A request to S3 taken apart: what it names, and what it says about it.

use std::collections::BTreeMap;

use axum::body::Body;
use http::HeaderMap;

use super::error::{invalid_argument, invalid_request};
use crate::api::error::ApiError;
use crate::api::sigv4::{self, Stated};
use crate::state::regions::Region;

/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Service,
    Bucket(String),
    Object { bucket: String, key: String },
}

/// One whose signature was believed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) region: Region,
    pub(crate) address: Address,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) signed: Stated,
    pub(crate) body: Body,
}

impl Address {
    pub(crate) fn read(path: &str) -> Result<Self, ApiError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let text = |part: &str| {
            String::from_utf8(sigv4::decode(part))
                .map_err(|_| ApiError::new("InvalidURI", "Couldn't parse the specified URI."))
        };
        let (bucket, key) = (text(bucket)?, text(key)?);
        if bucket.is_empty() {
            return if key.is_empty() {
                Ok(Self::Service)
            } else {
                Err(ApiError::new(
                    "InvalidURI",
                    "Couldn't parse the specified URI.",
                ))
            };
        }
        if key.is_empty() {
            return Ok(Self::Bucket(bucket));
        }
        if key.len() > LONGEST_KEY {
            return Err(ApiError::new("KeyTooLongError", "Your key is too long"));
        }
        Ok(Self::Object { bucket, key })
    }

    pub(super) fn bucket(&self) -> &str {
        match self {
            Self::Service => "",
            Self::Bucket(bucket) | Self::Object { bucket, .. } => bucket,
        }
    }

    pub(super) fn key(&self) -> &str {
        match self {
            Self::Object { key, .. } => key,
            Self::Service | Self::Bucket(_) => "",
        }
    }
}

impl Request {
    /// The parameters of a query; where one is given twice, the last.
    pub(crate) fn query_of(query: &str) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }

    /// What plans of faults see.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        let named = [
            ("Bucket", self.address.bucket()),
            ("Key", self.address.key()),
        ];
        let named = named
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = self.query.iter().filter(|(name, _)| !is_signature(name));
        query
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(named)
            .collect()
    }

    pub(super) fn bucket(&self) -> &str {
        self.address.bucket()
    }

    pub(super) fn key(&self) -> &str {
        self.address.key()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The same for whoever takes the request apart meanwhile.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.header(name).map(str::to_owned)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A number of the query within bounds.
    pub(super) fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.parameter(name) else {
            return Ok(None);
        };
        let number = text
            .parse()
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                invalid_argument(format!(
                    "{name} must be an integer between {} and {}",
                    bounds.start(),
                    bounds.end()
                ))
            })?;
        Ok(Some(number))
    }

    /// Refuses what the operation does not understand: a parameter that was
    /// silently left out would be a surprise.
    pub(super) fn check(&self, parameters: &[&str], headers: &[&str]) -> Result<(), ApiError> {
        const EVERYWHERE: [&str; 9] = [
            "x-amz-content-sha256",
            "x-amz-date",
            "x-amz-decoded-content-length",
            "x-amz-expected-bucket-owner",
            "x-amz-request-payer",
            "x-amz-sdk-checksum-algorithm",
            "x-amz-security-token",
            "x-amz-trailer",
            "x-amz-user-agent",
        ];
        let unknown = self.query.keys().find(|name| {
            !is_signature(name) && *name != "x-id" && !parameters.contains(&name.as_str())
        });
        if let Some(name) = unknown {
            return Err(super::error::not_implemented(format_args!(
                "the parameter {name} here"
            )));
        }
        let unknown = self
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .find(|name| {
                name.starts_with("x-amz-")
                    && !name.starts_with("x-amz-checksum-")
                    && !EVERYWHERE.contains(name)
                    && !headers.iter().any(|known| {
                        known
                            .strip_suffix('*')
                            .map_or(*known == *name, |start| name.starts_with(start))
                    })
            });
        if let Some(name) = unknown {
            return Err(super::error::not_implemented(format_args!(
                "the header {name} here"
            )));
        }
        let owner = self.header("x-amz-expected-bucket-owner");
        if owner.is_some_and(|owner| owner != crate::state::world::ACCOUNT) {
            return Err(ApiError::new("AccessDenied", "Access Denied")
                .with_status(http::StatusCode::FORBIDDEN));
        }
        Ok(())
    }

    pub(super) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.parameter(name).ok_or_else(|| {
            invalid_request(format!("The request must contain the parameter {name}"))
        })
    }
}

fn is_signature(name: &str) -> bool {
    matches!(
        name,
        "X-Amz-Algorithm"
            | "X-Amz-Credential"
            | "X-Amz-Date"
            | "X-Amz-Expires"
            | "X-Amz-SignedHeaders"
            | "X-Amz-Signature"
            | "X-Amz-Content-Sha256"
            | "X-Amz-Security-Token"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let object = |bucket: &str, key: &str| Address::Object {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        };
        assert_eq!(Address::read("/").unwrap(), Address::Service);
        assert_eq!(Address::read("/b").unwrap(), Address::Bucket("b".into()));
        assert_eq!(Address::read("/b/").unwrap(), Address::Bucket("b".into()));
        assert_eq!(Address::read("/b/a/../c").unwrap(), object("b", "a/../c"));
        assert_eq!(Address::read("/b/%C3%BC%2F+").unwrap(), object("b", "ü/+"));
        assert_eq!(Address::read("/b//").unwrap(), object("b", "/"));
        assert!(Address::read("//x").is_err());
        assert!(Address::read("/b/%ff").is_err());
        assert!(Address::read(&format!("/b/{}", "k".repeat(1025))).is_err());
    }
}
