//! A request to the EBS direct APIs taken apart, and the reply to it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{invalid, validation};
use crate::api::error::ApiError;
use crate::faults::Marks;
use crate::state::ids::Resource;
use crate::state::regions::Region;

/// One whose signature was believed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) region: Region,
    /// What its path names, if anything.
    pub(crate) snapshot: String,
    pub(crate) block: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) marks: Marks,
}

impl Request {
    /// What plans of faults and the log see of it, by the names of the service's model.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = self
            .query
            .iter()
            .map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|first| first.to_ascii_uppercase());
                (first.into_iter().chain(letters).collect(), value.clone())
            })
            .collect();
        for (name, value) in [("SnapshotId", &self.snapshot), ("BlockIndex", &self.block)] {
            if !value.is_empty() {
                all.insert(name.to_owned(), value.clone());
            }
        }
        if let Ok(Value::Object(members)) = serde_json::from_slice(&self.body) {
            all.extend(members.into_iter().filter_map(|(name, value)| match value {
                Value::String(text) => Some((name, text)),
                Value::Bool(_) | Value::Number(_) => Some((name, value.to_string())),
                _ => None,
            }));
        }
        all
    }

    /// The snapshot of the path, by a name that is one.
    pub(super) fn snapshot(&self) -> Result<&str, ApiError> {
        checked(&self.snapshot)
    }

    pub(super) fn block(&self) -> Result<u32, ApiError> {
        self.block
            .parse()
            .map_err(|_| invalid(format!("'{}' is no block index", self.block)))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn require_header(&self, name: &str) -> Result<&str, ApiError> {
        self.header(name)
            .ok_or_else(|| invalid(format!("The header {name} is missing")))
    }

    /// A number of the query.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, ApiError> {
        let given = self.query.get(name);
        given
            .map(|text| {
                let number = text.parse();
                number.map_err(|_| invalid(format!("'{text}' is no value for {name}")))
            })
            .transpose()
    }

    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| invalid(error.to_string()))
    }
}

pub(super) fn checked(id: &str) -> Result<&str, ApiError> {
    match Resource::Snapshot.check(id) {
        Ok(()) => Ok(id),
        Err(error) => Err(validation("INVALID_SNAPSHOT_ID", error.message())),
    }
}

/// A status, headers, and a document or the bytes of a block.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    kind: &'static str,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: StatusCode, document: &Value) -> Self {
        Self::of(
            status,
            "application/json",
            document.to_string().into_bytes(),
        )
    }

    pub(super) fn of(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            kind,
            body,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}
