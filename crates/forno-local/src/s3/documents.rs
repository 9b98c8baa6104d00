//! What is said about a bucket in a document: tags, life cycle, encryption,
//! public access. They are checked, kept and shown.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body::into_text;
use super::buckets::{bucket, bucket_mut};
use super::error::{internal, malformed, not_found};
use super::files;
use super::objects::place;
use super::reply::Reply;
use super::request::Request;
use crate::api::error::ApiError;
use crate::service::Service;
use crate::state::regions::Region;
use crate::state::world::Tags;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Most tags of a bucket.
const MOST_TAGS: usize = 50;
/// Most rules of a life cycle.
const MOST_RULES: usize = 1000;

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Lifecycle,
    Encryption,
    PublicAccess,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifecycle {
    #[serde(rename = "@xmlns", default = "namespace")]
    namespace: String,
    #[serde(rename = "Rule")]
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Rule {
    #[serde(rename = "ID", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Filter>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<Expiration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abort_incomplete_multipart_upload: Option<AbortIncomplete>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Expiration {
    days: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct AbortIncomplete {
    days_after_initiation: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encryption {
    #[serde(rename = "@xmlns", default = "namespace")]
    namespace: String,
    #[serde(rename = "Rule")]
    rule: EncryptionRule,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct EncryptionRule {
    apply_server_side_encryption_by_default: ByDefault,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_key_enabled: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByDefault {
    #[serde(rename = "SSEAlgorithm")]
    algorithm: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PublicAccess {
    #[serde(rename = "@xmlns", default = "namespace")]
    namespace: String,
    #[serde(default)]
    block_public_acls: bool,
    #[serde(default)]
    ignore_public_acls: bool,
    #[serde(default)]
    block_public_policy: bool,
    #[serde(default)]
    restrict_public_buckets: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tagging {
    #[serde(rename = "@xmlns", default)]
    _namespace: Option<String>,
    tag_set: TagSet,
}

/// Tags as requests carry them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TagSet {
    #[serde(rename = "Tag", default)]
    tags: Vec<Tag>,
}

impl TagSet {
    /// By the rules for tags of buckets.
    pub(super) fn check(self) -> Result<Tags, ApiError> {
        let count = self.tags.len();
        let mut tags = Tags::new();
        for tag in self.tags {
            let (key, value) = (tag.key.chars().count(), tag.value.chars().count());
            if key == 0 || key > 128 || value > 256 {
                return Err(ApiError::new(
                    "InvalidTag",
                    "The TagKey or TagValue you have provided is invalid",
                ));
            }
            tags.insert(tag.key, tag.value);
        }
        if tags.len() < count || count > MOST_TAGS {
            return Err(ApiError::new(
                "InvalidTag",
                "Cannot provide multiple Tags with the same key, or more than 50",
            ));
        }
        Ok(tags)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

fn namespace() -> String {
    NAMESPACE.to_owned()
}

impl Kind {
    pub(super) fn parameter(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Encryption => "encryption",
            Self::PublicAccess => "publicAccessBlock",
        }
    }

    /// The document in the form in which it is kept.
    fn read(self, text: &str) -> Result<String, ApiError> {
        match self {
            Self::Lifecycle => {
                let read: Lifecycle = parse(text)?;
                read.check()?;
                write("LifecycleConfiguration", &read)
            }
            Self::Encryption => {
                let read: Encryption = parse(text)?;
                let by_default = &read.rule.apply_server_side_encryption_by_default;
                if by_default.algorithm != "AES256" {
                    return Err(super::error::not_implemented(format_args!(
                        "SSEAlgorithm {}",
                        by_default.algorithm
                    )));
                }
                write("ServerSideEncryptionConfiguration", &read)
            }
            Self::PublicAccess => write(
                "PublicAccessBlockConfiguration",
                &parse::<PublicAccess>(text)?,
            ),
        }
    }

    /// What a bucket has that was not told otherwise.
    fn by_default(self) -> Result<String, ApiError> {
        match self {
            Self::Lifecycle => Err(not_found(
                "NoSuchLifecycleConfiguration",
                "The lifecycle configuration does not exist",
            )),
            Self::Encryption => write(
                "ServerSideEncryptionConfiguration",
                &Encryption {
                    namespace: namespace(),
                    rule: EncryptionRule {
                        apply_server_side_encryption_by_default: ByDefault {
                            algorithm: "AES256".to_owned(),
                        },
                        bucket_key_enabled: Some(false),
                    },
                },
            ),
            Self::PublicAccess => write(
                "PublicAccessBlockConfiguration",
                &PublicAccess {
                    namespace: namespace(),
                    block_public_acls: true,
                    ignore_public_acls: true,
                    block_public_policy: true,
                    restrict_public_buckets: true,
                },
            ),
        }
    }
}

impl Lifecycle {
    fn check(&self) -> Result<(), ApiError> {
        if self.rules.is_empty() || self.rules.len() > MOST_RULES {
            return Err(malformed("there are no rules, or too many"));
        }
        for rule in &self.rules {
            if !matches!(rule.status.as_str(), "Enabled" | "Disabled") {
                return Err(malformed("Status is Enabled or Disabled"));
            }
            let days = rule.expiration.as_ref().map(|expiration| expiration.days);
            let abort = rule.abort_incomplete_multipart_upload.as_ref();
            let abort = abort.map(|abort| abort.days_after_initiation);
            if days.is_none() && abort.is_none() {
                return Err(super::error::invalid_request(
                    "At least one action needs to be specified in a rule",
                ));
            }
            if days == Some(0) || abort == Some(0) {
                return Err(super::error::invalid_argument(
                    "'Days' must be a positive integer",
                ));
            }
        }
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    quick_xml::de::from_str(text).map_err(|error| malformed(&error.to_string()))
}

fn write<T: Serialize>(root: &str, value: &T) -> Result<String, ApiError> {
    quick_xml::se::to_string_with_root(root, value)
        .map_err(|error| internal("A document could not be written", error))
}

pub(super) async fn put(
    service: &Arc<Service>,
    mut request: Request,
    kind: Kind,
) -> Result<Reply, ApiError> {
    request.check(
        &[kind.parameter()],
        &["x-amz-transition-default-minimum-object-size"],
    )?;
    let text = into_text(&mut request).await?;
    let kept = kind.read(&text)?;
    let (name, _, region) = place(&request);
    files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        bucket.documents.insert(kind.parameter().to_owned(), kept);
        Ok(((), Vec::new()))
    })
    .await?;
    Ok(Reply::empty())
}

pub(super) fn get(service: &Service, request: &Request, kind: Kind) -> Result<Reply, ApiError> {
    request.check(&[kind.parameter()], &[])?;
    let kept = service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        Ok::<_, ApiError>(bucket.documents.get(kind.parameter()).cloned())
    })?;
    let text = match kept {
        Some(text) => text,
        None => kind.by_default()?,
    };
    Ok(Reply::document(text.into_bytes()))
}

pub(super) async fn delete(
    service: &Arc<Service>,
    request: Request,
    kind: Kind,
) -> Result<Reply, ApiError> {
    request.check(&[kind.parameter()], &[])?;
    let (name, _, region) = place(&request);
    files::change(service, move |buckets| {
        let bucket = bucket_mut(buckets, &name, region)?;
        bucket.documents.remove(kind.parameter());
        Ok(((), Vec::new()))
    })
    .await?;
    Ok(Reply::deleted())
}

pub(super) async fn put_tags(
    service: &Arc<Service>,
    mut request: Request,
) -> Result<Reply, ApiError> {
    request.check(&["tagging"], &[])?;
    let text = into_text(&mut request).await?;
    let input: Tagging = parse(&text)?;
    let tags = input.tag_set.check()?;
    set_tags(service, place(&request), tags).await?;
    Ok(Reply::deleted())
}

pub(super) async fn delete_tags(
    service: &Arc<Service>,
    request: Request,
) -> Result<Reply, ApiError> {
    request.check(&["tagging"], &[])?;
    set_tags(service, place(&request), Tags::new()).await?;
    Ok(Reply::deleted())
}

async fn set_tags(
    service: &Arc<Service>,
    (name, _, region): (String, String, Region),
    tags: Tags,
) -> Result<(), ApiError> {
    files::change(service, move |buckets| {
        bucket_mut(buckets, &name, region)?.tags = tags;
        Ok(((), Vec::new()))
    })
    .await
}

pub(super) fn get_tags(service: &Service, request: &Request) -> Result<Reply, ApiError> {
    request.check(&["tagging"], &[])?;
    let tags = service.store.read(|world| {
        let bucket = bucket(&world.buckets, request.bucket(), request.region)?;
        Ok::<_, ApiError>(bucket.tags.clone())
    })?;
    if tags.is_empty() {
        return Err(not_found("NoSuchTagSet", "The TagSet does not exist"));
    }
    Ok(Reply::xml("Tagging", |xml| {
        xml.group("TagSet", |xml| {
            for (key, value) in &tags {
                xml.group("Tag", |xml| {
                    xml.text("Key", key).text("Value", value);
                });
            }
        });
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_cycle_comes_back_as_it_was_said() {
        let text = "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>all</ID>\
                    <Filter><Prefix>a/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>\
                    <AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>\
                    </AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>";
        assert_eq!(Kind::Lifecycle.read(text).unwrap(), text);
        for (from, to, code) in [
            ("<Days>1</Days>", "<Days>0</Days>", "InvalidArgument"),
            ("<Days>1</Days>", "<Date>2026-11-22</Date>", "MalformedXML"),
            ("Enabled", "On", "MalformedXML"),
        ] {
            let error = Kind::Lifecycle.read(&text.replace(from, to)).unwrap_err();
            assert_eq!(error.code(), code, "{to}");
        }
        assert!(Kind::Lifecycle.by_default().is_err());
        assert!(Kind::PublicAccess.by_default().unwrap().contains("true"));
    }
}
