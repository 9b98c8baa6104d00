//! Takes in what a request brings: decoded, counted, and held against every
//! hash and checksum that the request states, while it goes to its place.

use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::checksum::{Algorithm, Running, decode, encode};
use super::chunked::{Chunked, Fault};
use super::error::{bad_digest, internal, invalid_argument, invalid_request};
use super::files::NewFile;
use super::request::Request;
use crate::api::error::ApiError;
use crate::api::sigv4::UNSIGNED;
use crate::state::buckets::Checksum;

/// The largest object of one request, as in S3.
pub(super) const LARGEST: u64 = 5 << 30;
/// The largest document.
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// How long a client may rest while it sends.
const PATIENCE: Duration = Duration::from_mins(1);

/// What has arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) md5: [u8; 16],
    pub(super) checksum: Option<Checksum>,
}

/// What of a body is checked while it arrives.
struct Intake {
    chunked: Option<Chunked>,
    length: u64,
    count: u64,
    md5: md5::Context,
    stated_md5: Option<Vec<u8>>,
    sha256: Option<(Sha256, String)>,
    checksum: Option<(Algorithm, Running)>,
    stated_checksum: Option<String>,
}

/// Takes the body into a new file.
pub(super) async fn into_file(
    request: &mut Request,
    file: &mut NewFile,
    wanted: Option<Algorithm>,
) -> Result<Received, ApiError> {
    let mut intake = Intake::new(request, LARGEST, wanted)?;
    let mut body = std::mem::take(&mut request.body);
    let mut data = Vec::new();
    while let Some(bytes) = next(&mut body).await? {
        intake.take(&bytes, &mut data)?;
        let written = file.write(&data).await;
        written.map_err(|error| internal("The object could not be written", error))?;
        data.clear();
    }
    let received = intake.finish()?;
    let safe = file.finish().await;
    safe.map_err(|error| internal("The object could not be written", error))?;
    Ok(received)
}

/// Takes the body as a document.
pub(super) async fn into_text(request: &mut Request) -> Result<String, ApiError> {
    let mut intake = Intake::new(request, LARGEST_DOCUMENT, None)?;
    let mut body = std::mem::take(&mut request.body);
    let mut data = Vec::new();
    while let Some(bytes) = next(&mut body).await? {
        intake.take(&bytes, &mut data)?;
    }
    intake.finish()?;
    String::from_utf8(data).map_err(|_| super::error::malformed("it is not UTF-8"))
}

/// The next bytes; an end before the end is an error.
async fn next(body: &mut Body) -> Result<Option<axum::body::Bytes>, ApiError> {
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let frame = frame.map_err(|_| {
            ApiError::new(
                "RequestTimeout",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            )
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(incomplete()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn incomplete() -> ApiError {
    ApiError::new(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

impl Intake {
    fn new(request: &Request, most: u64, wanted: Option<Algorithm>) -> Result<Self, ApiError> {
        let payload = request.signed.payload.as_str();
        let encoded = request
            .header("content-encoding")
            .is_some_and(|value| value.split(',').any(|part| part.trim() == "aws-chunked"));
        let chain = || Some(request.signed.chain.clone());
        let (chunked, sha256) = match payload {
            UNSIGNED if encoded => (Some(Chunked::new(None)), None),
            UNSIGNED => (None, None),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => (Some(Chunked::new(None)), None),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                (Some(Chunked::new(chain())), None)
            }
            hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                (None, Some((Sha256::new(), hash.to_ascii_lowercase())))
            }
            _ => {
                return Err(invalid_argument(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING word that is known, or a valid sha256 \
                     value.",
                ));
            }
        };
        let length_header = if chunked.is_some() {
            "x-amz-decoded-content-length"
        } else {
            CONTENT_LENGTH.as_str()
        };
        let length = length(&request.headers, length_header)?;
        if length > most {
            return Err(ApiError::new(
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
            ));
        }
        let stated_md5 = match request.header("content-md5") {
            None => None,
            Some(text) => Some(decode(text).filter(|md5| md5.len() == 16).ok_or_else(|| {
                ApiError::new(
                    "InvalidDigest",
                    "The Content-MD5 you specified is not valid.",
                )
            })?),
        };
        let (algorithm, stated_checksum) = stated_checksum(request)?;
        let checksum = algorithm
            .or(wanted)
            .map(|algorithm| (algorithm, algorithm.start()));
        Ok(Self {
            chunked,
            length,
            count: 0,
            md5: md5::Context::new(),
            stated_md5,
            sha256,
            checksum,
            stated_checksum,
        })
    }

    /// Checks a piece; what is data in it is added to `out`.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ApiError> {
        let before = out.len();
        match &mut self.chunked {
            Some(chunked) => chunked.feed(bytes, out).map_err(told)?,
            None => out.extend_from_slice(bytes),
        }
        let data = &out[before..];
        self.count += u64::try_from(data.len()).unwrap_or(0);
        if self.count > self.length {
            return Err(incomplete());
        }
        self.md5.consume(data);
        if let Some((hash, _)) = &mut self.sha256 {
            hash.update(data);
        }
        if let Some((_, running)) = &mut self.checksum {
            running.update(data);
        }
        Ok(())
    }

    fn finish(self) -> Result<Received, ApiError> {
        let trailers = match self.chunked {
            Some(chunked) => chunked.finish().map_err(told)?,
            None => Vec::new(),
        };
        if self.count != self.length {
            return Err(incomplete());
        }
        if let Some((hash, stated)) = self.sha256
            && !bool::from(
                hex::encode(hash.finalize())
                    .as_bytes()
                    .ct_eq(stated.as_bytes()),
            )
        {
            return Err(ApiError::new(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        let md5 = self.md5.finalize().0;
        if self.stated_md5.is_some_and(|stated| stated != md5) {
            return Err(bad_digest("Content-MD5"));
        }
        let mut checksum = None;
        if let Some((algorithm, running)) = self.checksum {
            let value = encode(&running.finish());
            let header = format!("x-amz-checksum-{}", algorithm.name());
            let trailer = trailers.into_iter().find(|(name, _)| *name == header);
            let stated = self.stated_checksum.or(trailer.map(|(_, value)| value));
            if stated.is_some_and(|stated| stated != value) {
                return Err(bad_digest(&algorithm.name().to_ascii_uppercase()));
            }
            checksum = Some(Checksum {
                algorithm: algorithm.name().to_owned(),
                value,
                composite: false,
            });
        }
        Ok(Received { md5, checksum })
    }
}

fn told(fault: Fault) -> ApiError {
    match fault {
        Fault::Malformed => invalid_request("The body is not encoded as aws-chunked is"),
        Fault::Signature => super::error::refuse(&crate::api::sigv4::Refusal::Mismatch),
    }
}

fn length(headers: &HeaderMap, name: &str) -> Result<u64, ApiError> {
    let missing = || {
        ApiError::new(
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        )
        .with_status(StatusCode::LENGTH_REQUIRED)
    };
    match headers.get(name) {
        // Without either there is no body.
        None if name == CONTENT_LENGTH.as_str() && !headers.contains_key(TRANSFER_ENCODING) => {
            Ok(0)
        }
        None => Err(missing()),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| invalid_argument(format!("{name} is no number"))),
    }
}

/// The algorithm that a request speaks of, and its value where that stands in
/// the head already.
fn stated_checksum(request: &Request) -> Result<(Option<Algorithm>, Option<String>), ApiError> {
    let mut found: Vec<(Algorithm, Option<String>)> = Algorithm::ALL
        .into_iter()
        .filter_map(|algorithm| {
            let value = request.header(&format!("x-amz-checksum-{}", algorithm.name()))?;
            Some((algorithm, Some(value.to_owned())))
        })
        .collect();
    for name in request
        .header("x-amz-trailer")
        .unwrap_or_default()
        .split(',')
    {
        let name = name.trim();
        if name.is_empty() {
            continue;
        }
        let algorithm = name
            .strip_prefix("x-amz-checksum-")
            .and_then(Algorithm::find);
        let algorithm = algorithm.ok_or_else(|| {
            invalid_request("The value specified in the x-amz-trailer header is not supported")
        })?;
        found.push((algorithm, None));
    }
    if found.is_empty()
        && let Some(name) = request.header("x-amz-sdk-checksum-algorithm")
    {
        let algorithm = Algorithm::find(name).ok_or_else(|| {
            invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types.")
        })?;
        found.push((algorithm, None));
    }
    match found.len() {
        0 => Ok((None, None)),
        1 => {
            let (algorithm, value) = found.remove(0);
            Ok((Some(algorithm), value))
        }
        _ => Err(invalid_request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )),
    }
}
