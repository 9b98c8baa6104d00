//! Buckets: the temporary one of a bake, made, found again and removed.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::create_bucket::CreateBucketError;
use aws_sdk_s3::operation::delete_bucket::DeleteBucketError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    CreateBucketConfiguration, Delete, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, ObjectIdentifier, Tag,
};
use jiff::Timestamp;

use crate::convert::timestamp;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::tag::Tags;

/// A region whose name is given by leaving it out.
const NAMELESS: &str = "us-east-1";

/// A bucket of this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub created: Option<Timestamp>,
}

impl Gateway {
    /// A new bucket of this region, private and encrypted as all new ones are. Its
    /// tags come with it, so that it is never there without them.
    ///
    /// Names are shared with all of AWS. Succeeds also when it is there already and
    /// ours, as S3 does in `us-east-1`.
    pub async fn create_bucket(&self, name: &str, tags: &Tags) -> Result<(), Error> {
        let call = self.call("CreateBucket").on(name);
        let mut place = CreateBucketConfiguration::builder().set_tags(Some(sdk_tags(&call, tags)?));
        if self.region() != NAMELESS {
            place = place.location_constraint(BucketLocationConstraint::from(self.region()));
        }
        let made = self
            .clients()
            .s3
            .create_bucket()
            .bucket(name)
            .create_bucket_configuration(place.build())
            .customize()
            .interceptor(call.watch::<CreateBucketError>())
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .and_then(ProvideErrorMetadata::code)
                    == Some("BucketAlreadyOwnedByYou") =>
            {
                Ok(())
            }
            Err(error) => Err(call.failed(&error)),
        }
    }

    /// Has S3 remove what is left in it after a day, whatever becomes of us.
    pub async fn expire_objects(&self, bucket: &str) -> Result<(), Error> {
        let call = self.call("PutBucketLifecycleConfiguration").on(bucket);
        let rule = LifecycleRule::builder()
            .id("forno")
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("").build())
            .expiration(LifecycleExpiration::builder().days(1).build())
            .abort_incomplete_multipart_upload(
                AbortIncompleteMultipartUpload::builder()
                    .days_after_initiation(1)
                    .build(),
            )
            .build()
            .map_err(|error| call.malformed(error))?;
        let rules = BucketLifecycleConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(|error| call.malformed(error))?;
        self.clients()
            .s3
            .put_bucket_lifecycle_configuration()
            .bucket(bucket)
            .lifecycle_configuration(rules)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// The account's buckets whose names begin so, of this region.
    pub async fn buckets_named(&self, prefix: &str) -> Result<Vec<Bucket>, Error> {
        let call = self.call("ListBuckets");
        let mut pages = self
            .clients()
            .s3
            .list_buckets()
            .prefix(prefix)
            .bucket_region(self.region())
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(&error))?;
            for one in page.buckets.into_iter().flatten() {
                let Some(name) = one.name.filter(|name| name.starts_with(prefix)) else {
                    continue;
                };
                found.push(Bucket {
                    name,
                    created: timestamp(one.creation_date),
                });
            }
        }
        Ok(found)
    }

    /// The tags of a bucket; none when there is no such bucket.
    pub async fn bucket_tags(&self, name: &str) -> Result<Option<Tags>, Error> {
        let call = self.call("GetBucketTagging").on(name);
        let reply = self
            .clients()
            .s3
            .get_bucket_tagging()
            .bucket(name)
            .send()
            .await;
        let error = match reply {
            Ok(reply) => {
                let tags = reply.tag_set.into_iter();
                return Ok(Some(
                    tags.fold(Tags::new(), |all, tag| all.with(tag.key, tag.value)),
                ));
            }
            Err(error) => error,
        };
        match error
            .as_service_error()
            .and_then(ProvideErrorMetadata::code)
        {
            Some("NoSuchTagSet") => Ok(Some(Tags::new())),
            Some("NoSuchBucket") => Ok(None),
            _ => Err(call.failed(&error)),
        }
    }

    /// Removes a bucket with all that is in it. One that is not there is what it
    /// shall be.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), Error> {
        match self.empty_bucket(name, "").await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            emptied => emptied?,
        }
        let call = self.call("DeleteBucket").on(name);
        let deleted = self
            .clients()
            .s3
            .delete_bucket()
            .bucket(name)
            .customize()
            .interceptor(call.watch::<DeleteBucketError>())
            .send()
            .await
            .map_err(|error| call.failed(&error));
        match deleted {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Removes all objects whose keys begin so.
    pub async fn empty_bucket(&self, name: &str, prefix: &str) -> Result<(), Error> {
        let call = self.call("ListObjectsV2").on(name);
        // A page at a time, and from the start again: what was listed is gone.
        loop {
            let page = self
                .clients()
                .s3
                .list_objects_v2()
                .bucket(name)
                .prefix(prefix)
                .send()
                .await
                .map_err(|error| call.failed(&error))?;
            let keys: Vec<String> = page
                .contents
                .into_iter()
                .flatten()
                .filter_map(|object| object.key)
                .collect();
            if keys.is_empty() {
                return Ok(());
            }
            self.delete_objects(name, &keys).await?;
        }
    }

    /// Removes objects; missing ones are what they shall be.
    pub async fn delete_objects(&self, bucket: &str, keys: &[String]) -> Result<(), Error> {
        let call = self.call("DeleteObjects").on(bucket);
        for some in keys.chunks(1000) {
            let objects = some
                .iter()
                .map(|key| ObjectIdentifier::builder().key(key).build())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| call.malformed(error))?;
            let delete = Delete::builder()
                .set_objects(Some(objects))
                .quiet(true)
                .build()
                .map_err(|error| call.malformed(error))?;
            let reply = self
                .clients()
                .s3
                .delete_objects()
                .bucket(bucket)
                .delete(delete)
                .send()
                .await
                .map_err(|error| call.failed(&error))?;
            if let Some(error) = reply.errors.into_iter().flatten().next() {
                let (code, message) = (error.code, error.message.unwrap_or_default());
                return Err(call.refused(code.as_deref().unwrap_or_default(), message));
            }
        }
        Ok(())
    }
}

fn sdk_tags(call: &crate::attempts::Pending, tags: &Tags) -> Result<Vec<Tag>, Error> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| call.malformed(error))
}
