//! Key pairs: only public halves ever go to EC2.

use aws_sdk_ec2::operation::delete_key_pair::DeleteKeyPairError;
use aws_sdk_ec2::operation::import_key_pair::ImportKeyPairError;
use aws_sdk_ec2::operation::import_key_pair::builders::ImportKeyPairFluentBuilder;
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{Filter, KeyPairInfo, ResourceType};
use jiff::Timestamp;

use crate::convert::{Nonsense, optional_id, required, timestamp};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::ids::KeyPairId;
use crate::tag::{TagMatch, Tags, filter, literal, tag_filters};

/// A key pair as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    pub name: String,
    pub id: Option<KeyPairId>,
    pub fingerprint: Option<String>,
    pub created: Option<Timestamp>,
    pub tags: Tags,
}

/// A public key to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyPair {
    /// Unique in account and region.
    pub name: String,
    /// As in `authorized_keys`: `ssh-ed25519 AAAA… comment`.
    pub public_key: String,
    pub tags: Tags,
}

impl Gateway {
    pub async fn import_key_pair(&self, key: &NewKeyPair) -> Result<KeyPair, Error> {
        let call = self.call("ImportKeyPair").on(&key.name);
        let reply = self
            .import_key_pair_request(key)
            .customize()
            .interceptor(call.watch::<ImportKeyPairError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(KeyPair {
            name: reply.key_name.unwrap_or_else(|| key.name.clone()),
            id: optional_id(reply.key_pair_id).map_err(|error| call.malformed(error))?,
            fingerprint: reply.key_fingerprint,
            created: None,
            tags: key.tags.clone(),
        })
    }

    pub(crate) fn import_key_pair_request(&self, key: &NewKeyPair) -> ImportKeyPairFluentBuilder {
        self.clients()
            .ec2
            .import_key_pair()
            .key_name(&key.name)
            .public_key_material(Blob::new(key.public_key.as_bytes()))
            .set_tag_specifications(key.tags.specifications(&[ResourceType::KeyPair]))
    }

    /// The key pair of exactly this name, if there is one.
    pub async fn key_pair_named(&self, name: &str) -> Result<Option<KeyPair>, Error> {
        let filters = vec![filter("key-name", [literal(name)])];
        Ok(self.find_key_pairs(filters).await?.into_iter().next())
    }

    pub async fn key_pairs_tagged(&self, conditions: &[TagMatch]) -> Result<Vec<KeyPair>, Error> {
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        self.find_key_pairs(tag_filters(conditions)).await
    }

    /// Those whose name is like this pattern, with `*` and `?` as EC2 understands them.
    pub async fn key_pairs_like(&self, pattern: &str) -> Result<Vec<KeyPair>, Error> {
        self.find_key_pairs(vec![filter("key-name", [pattern])])
            .await
    }

    async fn find_key_pairs(&self, filters: Vec<Filter>) -> Result<Vec<KeyPair>, Error> {
        let call = self.call("DescribeKeyPairs");
        let reply = self
            .clients()
            .ec2
            .describe_key_pairs()
            .set_filters(Some(filters))
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        reply
            .key_pairs
            .into_iter()
            .flatten()
            .map(KeyPair::from_sdk)
            .collect::<Result<_, _>>()
            .map_err(|nonsense| call.malformed(nonsense))
    }

    /// Succeeds also when there is none of that name: so does EC2.
    pub async fn delete_key_pair(&self, name: &str) -> Result<(), Error> {
        let call = self.call("DeleteKeyPair").on(name);
        self.clients()
            .ec2
            .delete_key_pair()
            .key_name(name)
            .customize()
            .interceptor(call.watch::<DeleteKeyPairError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }
}

impl KeyPair {
    fn from_sdk(key: KeyPairInfo) -> Result<Self, Nonsense> {
        Ok(Self {
            name: required(key.key_name, "the name of a key pair")?,
            id: optional_id(key.key_pair_id)?,
            fingerprint: key.key_fingerprint,
            created: timestamp(key.create_time),
            tags: Tags::from_sdk(key.tags),
        })
    }
}
