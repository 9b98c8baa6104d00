//! A reply of S3: a status, headers, and a body that may be long.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::api::xml::Xml;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Body,
}

impl Reply {
    pub(super) fn status(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::empty(),
        }
    }

    pub(super) fn empty() -> Self {
        Self::status(StatusCode::OK)
    }

    pub(super) fn deleted() -> Self {
        Self::status(StatusCode::NO_CONTENT)
    }

    /// A document of S3's.
    pub(super) fn xml(root: &str, fill: impl FnOnce(&mut Xml)) -> Self {
        Self::document(Xml::document(root, Some(NAMESPACE), fill))
    }

    pub(super) fn document(bytes: Vec<u8>) -> Self {
        Self::empty()
            .with(header::CONTENT_TYPE, "application/xml")
            .with(header::CONTENT_LENGTH, bytes.len())
            .of(Body::from(bytes))
    }

    pub(super) fn of(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// A header by a name that may be anything.
    pub(super) fn with_named(self, name: &str, value: impl std::fmt::Display) -> Self {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => self.with(name, value),
            Err(_) => self,
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
