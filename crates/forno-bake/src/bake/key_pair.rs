//! Phase 1: a key made in memory, whose public half EC2 hands to the machine.

use std::sync::Arc;

use forno_link::Identity;
use forno_saga::EffectId;

use super::adopt::{adopt, may_be_there};
use super::context::Context;
use super::effects::{KEY_PAIR, Made, NamedIntent};
use crate::error::{ErrorKind, of_effect};
use crate::{Error, names};

/// A key that EC2 knows the public half of.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) identity: Arc<Identity>,
}

/// `role` tells the builder's key from that of the test machine.
pub(super) async fn import(ctx: &Context, role: &str) -> Result<Key, Error> {
    let identity = Arc::new(Identity::generate(&format!("forno {}", ctx.prepared.bake)));
    let mut new = ctx.prepared.new_key(identity.public_line());
    if role != KEY_PAIR {
        new.name = format!("{}-{role}", new.name);
        new.tags.insert("Name", new.name.as_str());
        new.tags.insert(names::STEP, role);
    }
    let name = new.name.clone();
    let gateway = ctx.gateway.clone();
    let (poll, cancel) = (ctx.settings.poll, ctx.cancel.clone());
    let intent = NamedIntent::intent(EffectId::new(role), KEY_PAIR, &name, role);
    let apply = async move {
        let error = match gateway.import_key_pair(&new).await {
            Ok(key) => return Ok(Made { id: key.name }),
            Err(error) => error,
        };
        // What is there under this name holds the same public key.
        let look = || async {
            let there = gateway.key_pair_named(&new.name).await?;
            Ok(there.filter(|key| key.tags.get(names::BAKE) == new.tags.get(names::BAKE)))
        };
        if may_be_there(&error)
            && let Some(key) = adopt(poll, &cancel, look).await
        {
            return Ok(Made { id: key.name });
        }
        Err(error)
    };
    ctx.effect(intent, apply).await.map_err(|error| {
        of_effect(error, |error| ErrorKind::Network {
            what: "cannot import the key",
            error,
        })
    })?;
    ctx.created(KEY_PAIR, &name);
    Ok(Key { name, identity })
}
