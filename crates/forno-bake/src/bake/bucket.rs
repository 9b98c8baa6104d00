//! What files go through to machines that are reached by Run Command: a bucket
//! that is made for the bake, or a place in one that the recipe names.

use forno_aws::Kind;
use forno_recipe::{Bucket, Connect};
use forno_saga::EffectId;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::effects::{BUCKET, Made, NamedIntent, OBJECTS};
use crate::error::{ErrorKind, of_effect};
use crate::plan::{Prepared, ids};
use crate::{Error, names};

/// A bucket and what keys in it begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketPlace {
    pub bucket: String,
    /// Empty, or with a slash at its end.
    pub prefix: String,
}

impl BucketPlace {
    /// Where a bake's files go through; it follows from the bake alone.
    pub(crate) fn of(prepared: &Prepared) -> Option<Self> {
        if prepared.connect != Connect::Ssm {
            return None;
        }
        match &prepared.recipe.builder.bucket {
            Bucket::None => None,
            Bucket::Temporary => Some(Self {
                bucket: names::bucket(&prepared.bake),
                prefix: String::new(),
            }),
            Bucket::Named(name) => Some(Self {
                bucket: name.clone(),
                prefix: format!("forno/{}/", prepared.bake),
            }),
        }
    }

    /// As the ledger has it, read back by [`BucketPlace::parse`].
    fn name(&self) -> String {
        format!("{}/{}", self.bucket, self.prefix)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (bucket, prefix) = name.split_once('/')?;
        // Never the whole of somebody's bucket.
        let bake = prefix.strip_prefix("forno/")?.strip_suffix('/')?;
        (!bake.is_empty()).then(|| Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// Makes it, or enters into the ledger what may be put into a foreign one.
pub(super) async fn prepare(ctx: &Context) -> Result<(), Error> {
    let Some(place) = BucketPlace::of(&ctx.prepared) else {
        return Ok(());
    };
    let gateway = ctx.gateway.clone();
    let failed = |what| move |error| ErrorKind::Network { what, error };
    if !place.prefix.is_empty() {
        let name = place.name();
        let intent = NamedIntent::intent(EffectId::new(OBJECTS), OBJECTS, &name, OBJECTS);
        let made = ctx.effect(intent, async move {
            // It must be there, of this region, and ours to write to.
            let probe = format!("{}.forno", place.prefix);
            gateway
                .put_object(&place.bucket, &probe, bytes::Bytes::new())
                .await?;
            gateway.delete_objects(&place.bucket, &[probe]).await?;
            Ok(Made { id: place.name() })
        });
        let failed = failed("cannot use the recipe's bucket");
        made.await.map_err(|error| of_effect(error, failed))?;
        return Ok(());
    }
    let failed = failed("cannot make the bucket");
    let step = ids::bucket();
    ctx.step(&step, async {
        let name = place.bucket;
        let tags = ctx.prepared.tags(BUCKET, &name);
        let intent = NamedIntent::intent(EffectId::new(BUCKET), BUCKET, &name, BUCKET);
        let made = ctx.effect(intent, {
            let name = name.clone();
            async move {
                // Only we can own a bucket of this name, so repeating it is safe.
                match gateway.create_bucket(&name, &tags).await {
                    Err(error) if error.outcome() == forno_aws::Outcome::Unknown => {
                        gateway.create_bucket(&name, &tags).await?;
                    }
                    made => made?,
                }
                Ok(Made { id: name })
            }
        });
        made.await.map_err(|error| of_effect(error, failed))?;
        ctx.created(BUCKET, &name);
        // Only for the case that everything of ours is lost.
        if let Err(error) = ctx.gateway.expire_objects(&name).await {
            if error.kind() == Kind::Unauthorized {
                ctx.note(
                    forno_events::Severity::Warning,
                    format!("the temporary bucket has no rule to empty itself: {error}"),
                );
            } else {
                return Err(Error::new(failed(error)));
            }
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_is_never_a_whole_bucket() {
        let place = BucketPlace {
            bucket: "artifacts".to_owned(),
            prefix: "forno/base-01/".to_owned(),
        };
        assert_eq!(BucketPlace::parse(&place.name()), Some(place));
        for bad in [
            "artifacts",
            "artifacts/",
            "artifacts/forno/",
            "artifacts/x/",
            "a/forno/x",
        ] {
            assert_eq!(BucketPlace::parse(bad), None, "{bad}");
        }
    }
}
