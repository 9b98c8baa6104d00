//! Signature Version 4, seen from the server: the signature of a request is
//! computed again from what arrived and compared in constant time. Keys and
//! HMACs come from `aws-sigv4`; what is written here is how a request becomes
//! the string that is signed.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the clocks may be apart, as in EC2.
const SKEW: Duration = Duration::from_mins(5);
/// The same in S3.
const WIDE_SKEW: Duration = Duration::from_mins(15);
/// What S3 signs of a body that nobody has hashed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// A presigned request lives at most a week.
const LONGEST_LIFE: i64 = 7 * 24 * 3600;

/// By whom a request was signed, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Those whose signatures are believed.
pub(crate) trait Keys {
    /// The secret that goes with an access key and, of a session, its token.
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<String, Refusal>;
}

impl Keys for Credentials {
    fn secret(&self, access_key: &str, _: Option<&str>, _: Timestamp) -> Result<String, Refusal> {
        let known = access_key.as_bytes().ct_eq(self.access_key_id.as_bytes());
        if bool::from(known) {
            Ok(self.secret_access_key.clone())
        } else {
            Err(Refusal::UnknownKey)
        }
    }
}

/// Why a request is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It carries no signature at all.
    Unsigned,
    /// The signature's parts are not all there or make no sense.
    Incomplete(String),
    /// The access key is not this endpoint's, or its session's token is another.
    UnknownKey,
    /// The time of its session is over.
    SessionEnded,
    /// The signature is not what the request and the key give.
    Mismatch,
    /// It was signed too long ago.
    Expired,
    /// It was signed too far in the future.
    TooEarly,
}

/// The parts of a request that are signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// How a service has its requests signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// The body is there, and its hash is signed.
    Whole,
    /// S3's: what the request says of its body is signed, and the path as it
    /// was encoded once.
    Stated,
}

/// What a request whose body is still to come was signed with.
#[derive(Debug, Clone)]
pub(crate) struct Stated {
    pub(crate) scope: Scope,
    /// The hash of the body, or a word that says why there is none.
    pub(crate) payload: String,
    /// On which the signatures of its chunks build.
    pub(crate) chain: Chain,
}

/// Signatures of which each builds on the one before.
#[derive(Clone)]
pub(crate) struct Chain {
    key: Vec<u8>,
    stamp: String,
    scope: String,
    last: String,
}

/// A signature as the request states it.
struct Claim {
    date: String,
    scope: Scope,
    signed_headers: Vec<String>,
    signature: String,
    /// When it was signed, as written.
    stamp: String,
    /// How long a presigned request lives; header signatures live by the skew.
    life: Option<i64>,
    payload: String,
}

/// Checks the signature of a request.
pub(crate) fn verify(
    request: Request<'_>,
    keys: &dyn Keys,
    now: Timestamp,
) -> Result<Scope, Refusal> {
    check(request, keys, now, Rules::Whole).map(|(claim, _)| claim.scope)
}

/// Checks the signature of a request to S3 by its head alone.
pub(crate) fn verify_stated(
    request: Request<'_>,
    keys: &dyn Keys,
    now: Timestamp,
) -> Result<Stated, Refusal> {
    let (claim, secret) = check(request, keys, now, Rules::Stated)?;
    let chain = Chain::new(
        &secret,
        &claim.stamp,
        &claim.scope.region,
        &claim.scope.service,
        &claim.signature,
    )?;
    Ok(Stated {
        scope: claim.scope,
        payload: claim.payload,
        chain,
    })
}

/// The claim, and the secret that proves it.
fn check(
    request: Request<'_>,
    keys: &dyn Keys,
    now: Timestamp,
    rules: Rules,
) -> Result<(Claim, String), Refusal> {
    let claim = Claim::read(request, rules)?;
    let signed_at = parse_stamp(&claim.stamp)?;
    if !claim.stamp.starts_with(&claim.date) {
        return Err(incomplete(
            "date in the credential scope differs from X-Amz-Date",
        ));
    }
    let token = session_token(request);
    let secret = keys.secret(&claim.scope.access_key, token.as_deref(), now)?;
    let path = match rules {
        Rules::Whole => Cow::Borrowed(request.path),
        Rules::Stated => Cow::Owned(encoded_once(request.path)),
    };
    let canonical = canonical_request(request, &path, &claim)?;
    let expected = signature(&canonical, &claim, signed_at, &secret);
    if !bool::from(expected.as_bytes().ct_eq(claim.signature.as_bytes())) {
        return Err(Refusal::Mismatch);
    }
    let skew = match rules {
        Rules::Whole => SKEW,
        Rules::Stated => WIDE_SKEW,
    };
    let skew = i64::try_from(skew.as_secs()).unwrap_or(i64::MAX);
    let age = now.as_second() - signed_at.as_second();
    if age > claim.life.unwrap_or(skew) {
        return Err(Refusal::Expired);
    }
    if -age > skew {
        return Err(Refusal::TooEarly);
    }
    Ok((claim, secret))
}

fn session_token(request: Request<'_>) -> Option<String> {
    const NAME: &str = "X-Amz-Security-Token";
    if let Some(value) = request.headers.get(NAME) {
        return value.to_str().ok().map(str::to_owned);
    }
    url::form_urlencoded::parse(request.query.as_bytes())
        .find(|(name, _)| name == NAME)
        .map(|(_, value)| value.into_owned())
}

fn signature(canonical: &str, claim: &Claim, at: Timestamp, secret: &str) -> String {
    let scope = scope_text(&claim.date, &claim.scope.region, &claim.scope.service);
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{scope}\n{}",
        claim.stamp,
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    let key = aws_sigv4::sign::v4::generate_signing_key(
        secret,
        SystemTime::from(at),
        &claim.scope.region,
        &claim.scope.service,
    );
    aws_sigv4::sign::v4::calculate_signature(key, to_sign.as_bytes())
}

fn scope_text(date: &str, region: &str, service: &str) -> String {
    format!("{date}/{region}/{service}/aws4_request")
}

impl Chain {
    /// One that begins with the signature of a request.
    pub(crate) fn new(
        secret: &str,
        stamp: &str,
        region: &str,
        service: &str,
        signature: &str,
    ) -> Result<Self, Refusal> {
        let at = SystemTime::from(parse_stamp(stamp)?);
        let key = aws_sigv4::sign::v4::generate_signing_key(secret, at, region, service);
        let date = stamp.get(..8).unwrap_or_default();
        Ok(Self {
            key: key.as_ref().to_vec(),
            stamp: stamp.to_owned(),
            scope: scope_text(date, region, service),
            last: signature.to_owned(),
        })
    }

    /// The signature of what comes next, by the hashes of its parts.
    pub(crate) fn next(&mut self, algorithm: &str, hashes: &[&str]) -> String {
        let to_sign = format!(
            "{algorithm}\n{}\n{}\n{}\n{}",
            self.stamp,
            self.scope,
            self.last,
            hashes.join("\n")
        );
        self.last = aws_sigv4::sign::v4::calculate_signature(&self.key, to_sign.as_bytes());
        self.last.clone()
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Whatever a client has encoded and whatever it has left as it is.
fn encoded_once(path: &str) -> String {
    let parts = path.split('/').map(|part| encode_bytes(&decode(part)));
    parts.collect::<Vec<_>>().join("/")
}

/// Without its percent signs.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

fn canonical_request(request: Request<'_>, path: &str, claim: &Claim) -> Result<String, Refusal> {
    let mut headers = String::new();
    for name in &claim.signed_headers {
        let mut values = request.headers.get_all(name).iter().peekable();
        if values.peek().is_none() {
            return Err(incomplete(&format!(
                "signed header `{name}` is not in the request"
            )));
        }
        let joined: Vec<String> = values
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes())
                    .split_ascii_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        headers.push_str(&format!("{name}:{}\n", joined.join(",")));
    }
    Ok(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        request.method,
        path,
        canonical_query(request.query),
        claim.signed_headers.join(";"),
        claim.payload,
    ))
}

/// Decoded, encoded again by AWS's rules, sorted; without the signature.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    pairs.sort();
    pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

pub(crate) fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

fn encode_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Claim {
    fn read(request: Request<'_>, rules: Rules) -> Result<Self, Refusal> {
        match request.headers.get(http::header::AUTHORIZATION) {
            Some(value) => Self::from_header(value.to_str().unwrap_or_default(), request, rules),
            None => Self::from_query(request, rules),
        }
    }

    fn from_header(header: &str, request: Request<'_>, rules: Rules) -> Result<Self, Refusal> {
        let rest = header
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| incomplete(&format!("only {ALGORITHM} signatures are understood")))?;
        let part = |wanted: &str| {
            rest.split(',')
                .filter_map(|part| part.trim().split_once('='))
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
                .ok_or_else(|| incomplete(&format!("Authorization header requires '{wanted}'")))
        };
        let stated = request.headers.get("x-amz-content-sha256");
        let payload = match rules {
            Rules::Whole => {
                let hash = hex::encode(Sha256::digest(request.body));
                // Signed or not, a stated hash of another body is a broken request.
                if stated.is_some_and(|stated| stated.as_bytes() != hash.as_bytes()) {
                    return Err(Refusal::Mismatch);
                }
                hash
            }
            Rules::Stated => stated
                .and_then(|stated| stated.to_str().ok())
                .ok_or_else(|| incomplete("the request has no x-amz-content-sha256 header"))?
                .to_owned(),
        };
        let stamp = request
            .headers
            .get("x-amz-date")
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| incomplete("the request has no X-Amz-Date header"))?;
        Self::build(
            part("Credential")?,
            part("SignedHeaders")?,
            part("Signature")?,
            stamp,
            None,
            payload,
        )
    }

    fn from_query(request: Request<'_>, rules: Rules) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(request.query.as_bytes())
            .into_owned()
            .collect();
        let find = |wanted: &str| {
            pairs
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        if find("X-Amz-Signature").is_none() && find("X-Amz-Credential").is_none() {
            return Err(Refusal::Unsigned);
        }
        let part = |wanted: &str| {
            find(wanted).ok_or_else(|| incomplete(&format!("the query requires '{wanted}'")))
        };
        if part("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(&format!(
                "only {ALGORITHM} signatures are understood"
            )));
        }
        let life = part("X-Amz-Expires")?
            .parse()
            .ok()
            .filter(|life| (1..=LONGEST_LIFE).contains(life))
            .ok_or_else(|| incomplete("X-Amz-Expires is not between 1 and 604800"))?;
        let payload = match rules {
            Rules::Whole => hex::encode(Sha256::digest(request.body)),
            Rules::Stated => find("X-Amz-Content-Sha256").unwrap_or(UNSIGNED).to_owned(),
        };
        Self::build(
            part("X-Amz-Credential")?,
            part("X-Amz-SignedHeaders")?,
            part("X-Amz-Signature")?,
            part("X-Amz-Date")?,
            Some(life),
            payload,
        )
    }

    fn build(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        stamp: &str,
        life: Option<i64>,
        payload: String,
    ) -> Result<Self, Refusal> {
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = scope[..] else {
            return Err(incomplete(
                "Credential must have the form KEY/DATE/REGION/SERVICE/aws4_request",
            ));
        };
        let signed_headers: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        if !signed_headers.iter().any(|name| name == "host") {
            return Err(incomplete("'host' must be a signed header"));
        }
        if signed_headers
            .iter()
            .any(|name| http::HeaderName::from_lowercase(name.as_bytes()).is_err())
        {
            return Err(incomplete("SignedHeaders names no valid headers"));
        }
        Ok(Self {
            date: date.to_owned(),
            scope: Scope {
                access_key: access_key.to_owned(),
                region: region.to_owned(),
                service: service.to_owned(),
            },
            signed_headers,
            signature: signature.to_owned(),
            stamp: stamp.to_owned(),
            life,
            payload,
        })
    }
}

fn parse_stamp(stamp: &str) -> Result<Timestamp, Refusal> {
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp)
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|zoned| zoned.timestamp())
        .map_err(|_| incomplete("X-Amz-Date is not of the form 20060102T150405Z"))
}

fn incomplete(why: &str) -> Refusal {
    Refusal::Incomplete(why.to_owned())
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials as SigningCredentials;
    use aws_sigv4::http_request::{
        SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
    };
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: "secret/with+signs".into(),
        }
    }

    /// A request signed by AWS's own signer.
    fn signed(
        query: &str,
        body: &str,
        secret: &str,
        at: Timestamp,
        location: SignatureLocation,
    ) -> http::Request<String> {
        let identity = SigningCredentials::new("AKIAEXAMPLE", secret, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.signature_location = location;
        settings.expires_in =
            (location == SignatureLocation::QueryParams).then_some(Duration::from_mins(15));
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("ec2")
            .time(at.into())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let separator = if query.is_empty() { "" } else { "?" };
        let mut request = http::Request::builder()
            .method("POST")
            .uri(format!("http://127.0.0.1:8000/{separator}{query}"))
            .header("host", "127.0.0.1:8000")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
            .unwrap();
        let uri = request.uri().to_string();
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let signable = SignableRequest::new(
            "POST",
            &uri,
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(body.as_bytes()),
        )
        .unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    fn check(request: &http::Request<String>, now: Timestamp) -> Result<Scope, Refusal> {
        verify(
            Request {
                method: request.method().as_str(),
                path: request.uri().path(),
                query: request.uri().query().unwrap_or_default(),
                headers: request.headers(),
                body: request.body().as_bytes(),
            },
            &credentials(),
            now,
        )
    }

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn aws_own_signer_is_believed() {
        let secret = credentials().secret_access_key;
        for location in [SignatureLocation::Headers, SignatureLocation::QueryParams] {
            // A presigned request of this service has an empty body.
            let body = if location == SignatureLocation::Headers {
                "Action=DescribeRegions"
            } else {
                ""
            };
            let request = signed(
                "Action=X&b=a%20b%2Bc&a=%C3%BC",
                body,
                &secret,
                now(),
                location,
            );
            let scope = check(&request, now()).unwrap();
            assert_eq!(
                scope,
                Scope {
                    access_key: credentials().access_key_id,
                    region: "us-east-1".into(),
                    service: "ec2".into()
                }
            );
        }
    }

    #[test]
    fn whatever_was_changed_is_noticed() {
        let secret = credentials().secret_access_key;
        let good = || {
            signed(
                "",
                "Action=DescribeRegions",
                &secret,
                now(),
                SignatureLocation::Headers,
            )
        };

        let mut body = good();
        body.body_mut().push('x');
        assert_eq!(check(&body, now()), Err(Refusal::Mismatch));

        let mut header = good();
        header
            .headers_mut()
            .insert("host", "elsewhere".parse().unwrap());
        assert_eq!(check(&header, now()), Err(Refusal::Mismatch));

        let mut query = good();
        *query.uri_mut() = "http://127.0.0.1:8000/?DryRun=true".parse().unwrap();
        assert_eq!(check(&query, now()), Err(Refusal::Mismatch));

        let wrong = signed(
            "",
            "Action=DescribeRegions",
            "another secret",
            now(),
            SignatureLocation::Headers,
        );
        assert_eq!(check(&wrong, now()), Err(Refusal::Mismatch));
    }

    #[test]
    fn clocks_may_differ_by_minutes_only() {
        let secret = credentials().secret_access_key;
        let request = signed("", "", &secret, now(), SignatureLocation::Headers);
        let later = |minutes: i64| now() + jiff::SignedDuration::from_mins(minutes);
        assert!(check(&request, later(4)).is_ok());
        assert!(check(&request, later(-4)).is_ok());
        assert_eq!(check(&request, later(6)), Err(Refusal::Expired));
        assert_eq!(check(&request, later(-6)), Err(Refusal::TooEarly));
        let presigned = signed("", "", &secret, now(), SignatureLocation::QueryParams);
        assert!(check(&presigned, later(14)).is_ok());
        assert_eq!(check(&presigned, later(16)), Err(Refusal::Expired));
    }

    #[test]
    fn unsigned_and_unknown() {
        let bare = http::Request::builder()
            .uri("/")
            .body(String::new())
            .unwrap();
        assert_eq!(check(&bare, now()), Err(Refusal::Unsigned));
        let mut request = signed("", "", "s", now(), SignatureLocation::Headers);
        let header = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .replace("AKIAEXAMPLE", "AKIAOTHER");
        request
            .headers_mut()
            .insert("authorization", header.parse().unwrap());
        assert_eq!(check(&request, now()), Err(Refusal::UnknownKey));
    }

    proptest! {
        #[test]
        fn any_header_is_refused_without_a_panic(header in "[ -~]{0,200}", date in "[0-9TZ]{0,20}") {
            let mut request = http::Request::builder().uri("/").header("x-amz-date", date).body(String::new()).unwrap();
            request.headers_mut().insert("authorization", header.parse().unwrap());
            prop_assert!(check(&request, now()).is_err());
        }
    }
}
