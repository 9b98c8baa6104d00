//! Phase 1: a key made in memory, whose public half EC2 hands to the machine.

use std::sync::Arc;

use std::time::Duration;

use forno_events::BakeId;
use forno_link::{Identity, keyring};
use forno_saga::{Effect, EffectId, Fold};
use jiff::Timestamp;

use super::adopt::{adopt, may_be_there};
use super::builder;
use super::context::Context;
use super::effects::{KEY_PAIR, Made, NamedIntent, is_numbered};
use crate::error::{ErrorKind, of_effect};
use crate::{Error, names};

/// A key that EC2 knows the public half of.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) identity: Arc<Identity>,
}

/// `role` tells the builder's key from that of the test machine. One that another
/// process has imported for the same role stays what it is, and goes by itself.
pub(super) async fn import(ctx: &Context, role: &str) -> Result<Key, Error> {
    let identity = Arc::new(Identity::generate(&comment(&ctx.prepared.bake)));
    let mut new = ctx.prepared.new_key(identity.public_line());
    let fold = ctx.saga.ledger().fold();
    let before = of_role(&fold, role).count();
    let step = match before {
        0 => role.to_owned(),
        _ => format!("{role}.{}", before + 1),
    };
    if step != KEY_PAIR {
        new.name = format!("{}-{step}", new.name);
        new.tags.insert("Name", new.name.as_str());
        new.tags.insert(names::STEP, step.as_str());
    }
    let name = new.name.clone();
    let gateway = ctx.gateway.clone();
    let (poll, cancel) = (ctx.settings.poll, ctx.cancel.clone());
    let intent = NamedIntent::intent(EffectId::new(&step), KEY_PAIR, &name, &step);
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

/// The effects by which keys of this role were imported.
pub(super) fn of_role<'a>(fold: &'a Fold, role: &'a str) -> impl Iterator<Item = &'a Effect> {
    fold.effects().iter().filter(move |effect| {
        let id = effect.id.as_str();
        effect.kind == KEY_PAIR && (id == role || is_numbered(id, role))
    })
}

fn comment(bake: &BakeId) -> String {
    format!("forno {bake}")
}

/// The name of the builder's key in the kernel's keyring.
pub(crate) fn kept_as(bake: &BakeId) -> String {
    format!("forno:{bake}:{}", builder::ROLE)
}

/// Lets another process of this user go on with the builder, should this one die.
pub(super) fn keep(ctx: &Context, key: &Key) {
    let left = ctx.prepared.expires.duration_since(Timestamp::now());
    let left = Duration::try_from(left).unwrap_or_default();
    let kept = keyring::deposit(&kept_as(&ctx.prepared.bake), &key.identity, left);
    if let Err(error) = kept {
        tracing::info!(%error, "without it a bake that is killed cannot be resumed before its capture");
    }
}

/// The builder's key, of a process that is gone.
pub(super) fn take(ctx: &Context) -> Result<Key, String> {
    let bake = &ctx.prepared.bake;
    match keyring::take(&kept_as(bake), &comment(bake)) {
        Ok(Some(identity)) => Ok(Key {
            name: names::temporary(bake),
            identity: Arc::new(identity),
        }),
        Ok(None) => Err(
            "the key of its builder, which is on no disk, is not in this user's keyring".to_owned(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// The end of a bake: nobody needs its key any more.
pub(crate) fn forget(bake: &BakeId) {
    if let Err(error) = keyring::forget(&kept_as(bake)) {
        tracing::debug!(%error, "no key was taken from the keyring");
    }
}
