//! Objects of a bucket, and URLs by which a machine without any credentials may
//! fetch or leave one.

use std::time::Duration;

use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use secrecy::SecretString;

use crate::error::{Error, Kind};
use crate::gateway::Gateway;

impl Gateway {
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        content: bytes::Bytes,
    ) -> Result<(), Error> {
        let call = self.call("PutObject").on(format!("{bucket}/{key}"));
        self.clients()
            .s3
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(ByteStream::from(content))
            .customize()
            .interceptor(call.watch::<PutObjectError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// A whole object, in memory.
    pub async fn get_object(&self, bucket: &str, key: &str) -> Result<bytes::Bytes, Error> {
        let call = self.call("GetObject").on(format!("{bucket}/{key}"));
        let reply = self
            .clients()
            .s3
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let body = reply.body.collect().await;
        Ok(body.map_err(|error| call.malformed(error))?.into_bytes())
    }

    /// A URL by which whoever has it may fetch the object, for at most 7 days and
    /// no longer than the credentials last. No call is made.
    pub async fn presign_get(
        &self,
        bucket: &str,
        key: &str,
        valid: Duration,
    ) -> Result<SecretString, Error> {
        let call = self.call("GetObject").on(format!("{bucket}/{key}"));
        let signed = self
            .clients()
            .s3_for_machines
            .get_object()
            .bucket(bucket)
            .key(key)
            .presigned(self.validity(valid)?)
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(signed.uri().into())
    }

    /// A URL to which whoever has it may put the object.
    pub async fn presign_put(
        &self,
        bucket: &str,
        key: &str,
        valid: Duration,
    ) -> Result<SecretString, Error> {
        let call = self.call("PutObject").on(format!("{bucket}/{key}"));
        let signed = self
            .clients()
            .s3_for_machines
            .put_object()
            .bucket(bucket)
            .key(key)
            .presigned(self.validity(valid)?)
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(signed.uri().into())
    }

    fn validity(&self, valid: Duration) -> Result<PresigningConfig, Error> {
        PresigningConfig::expires_in(valid).map_err(|error| {
            Error::local(Kind::Other, "presigning", self.region(), error.to_string())
        })
    }
}
