//! Everything that carries a tag, of whatever kind: how a sweep finds what dead bakes
//! left behind.

use aws_sdk_ec2::operation::create_tags::CreateTagsError;
use aws_sdk_ec2::types::{Tag, TagDescription};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::gateway::Gateway;
use crate::tag::{TagMatch, Tags, filter, literal};

/// A resource and one tag of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaggedResource {
    /// EC2's word for it: `instance`, `image`, `snapshot`, `volume`,
    /// `security-group`, `key-pair`, `network-interface`, …
    pub kind: String,
    pub id: String,
    pub key: String,
    pub value: String,
}

impl Gateway {
    /// All resources of the region with this tag, one entry each. EC2 forgets the
    /// tags of what is gone only after a while: look before believing.
    pub async fn tagged_resources(
        &self,
        condition: &TagMatch,
    ) -> Result<Vec<TaggedResource>, Error> {
        let call = self.call("DescribeTags");
        let mut request = self
            .clients()
            .ec2
            .describe_tags()
            .filters(filter("key", [literal(condition.key())]));
        if let Some(value) = condition.value() {
            request = request.filters(filter("value", [literal(value)]));
        }
        let pages = request.into_paginator().items().send();
        let mut resources: Vec<TaggedResource> = pages
            .collect::<Result<Vec<TagDescription>, _>>()
            .await
            .map_err(|error| call.failed(&error))?
            .into_iter()
            .filter_map(|tag| {
                Some(TaggedResource {
                    kind: tag.resource_type?.as_str().to_owned(),
                    id: tag.resource_id?,
                    key: tag.key?,
                    value: tag.value.unwrap_or_default(),
                })
            })
            .collect();
        resources.sort();
        Ok(resources)
    }

    /// Puts tags on resources that exist, on all or none. Repeating it does no harm,
    /// and that is what to do after an unknown outcome.
    pub async fn create_tags(&self, resources: &[&str], tags: &Tags) -> Result<(), Error> {
        let call = self.call("CreateTags").on(resources.join(", "));
        let tags = tags
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        self.clients()
            .ec2
            .create_tags()
            .set_resources(Some(resources.iter().copied().map(str::to_owned).collect()))
            .set_tags(Some(tags))
            .customize()
            .interceptor(call.watch::<CreateTagsError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }
}
