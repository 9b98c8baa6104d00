//! Phase 7: the builder forgets what is its own or ours, and shows that no
//! secret is left on it.

use std::collections::BTreeSet;

use forno_events::Severity;
use forno_guest::{Allowed, SealItem, SealOptions, SealReport, SealVolume};
use forno_recipe::{Recipe, SealItem as Named};
use secrecy::{ExposeSecret as _, SecretString};

use super::connect::{Connected, raced};
use super::context::{Context, of_wait};
use super::door::Door;
use super::guest_steps::of_step;
use crate::journal;
use crate::plan::ids;
use crate::{Error, ErrorKind};

/// How long EC2 may take to say what the builder's volumes are.
const DESCRIBED: std::time::Duration = std::time::Duration::from_mins(2);

pub(super) async fn seal(ctx: &Context, builder: &Connected, door: &Door) -> Result<(), Error> {
    let step = ids::seal();
    let recipe = &ctx.prepared.recipe;
    let options = SealOptions {
        key_blobs: door
            .key()
            .map(|key| key.identity.public_blob())
            .into_iter()
            .collect(),
        keep: recipe.seal.keep.iter().copied().map(item).collect(),
        secrets: texts(recipe),
        allowed: recipe
            .seal
            .allow
            .iter()
            .map(|allow| Allowed {
                path: allow.path.clone(),
                reason: allow.reason.clone(),
            })
            .collect(),
        volumes: volumes(ctx, builder).await?,
    };
    let work = async {
        builder
            .guest
            .seal(&options, &ctx.guest(&step))
            .await
            .map_err(|error| of_step(&error, ErrorKind::Seal))
    };
    let report = ctx
        .step(&step, raced(ctx, &step, &builder.machine, work))
        .await?;
    tell(ctx, report);
    // Last of all: until here the machine ends by itself where forno dies.
    if let Some(why) = builder.lifeline.cut(&*builder.link, &ctx.cancel).await {
        ctx.note(
            Severity::Warning,
            format!("the timers of the dead man's switch are not stopped ({why}); they are in memory, not in the image"),
        );
    }
    ctx.pass(&step, &builder.machine.effect).await?;
    builder.link.close().await;
    super::connect::forget(ctx);
    Ok(())
}

/// The volumes that come into the image besides the root, as EC2 attached them.
async fn volumes(ctx: &Context, builder: &Connected) -> Result<Vec<SealVolume>, Error> {
    let devices: Vec<&str> = ctx.prepared.data_devices_of_image().collect();
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let id = &builder.machine.id;
    let found = ctx
        .wait(&ids::seal(), "EC2 to describe the builder", DESCRIBED)
        .of(id)
        .while_refused(
            |error| error.kind().is_transient(),
            || ctx.gateway.instance(id),
        )
        .await
        .map_err(|error| of_wait(&error, ErrorKind::Seal))?;
    let attached = found.into_iter().flat_map(|instance| instance.volumes);
    Ok(attached
        .filter(|(device, _)| devices.contains(&device.as_str()))
        .map(|(device, id)| SealVolume {
            device,
            serial: id.as_str().replace('-', ""),
        })
        .collect())
}

/// What gives a secret away in a file.
fn texts(recipe: &Recipe) -> Vec<SecretString> {
    let texts: BTreeSet<String> = recipe
        .secrets()
        .flat_map(|(_, secret)| journal::on_disk(secret.expose_secret()))
        .collect();
    texts.into_iter().map(SecretString::from).collect()
}

fn tell(ctx: &Context, report: SealReport) {
    for warning in report.warnings {
        ctx.note(Severity::Warning, warning);
    }
    for (finding, reason) in report.allowed {
        let (path, kind) = (finding.path, finding.kind);
        ctx.note(Severity::Info, format!("{path}: {kind}, allowed: {reason}"));
    }
    for file in report.unsearched {
        let (path, why) = (file.path, file.why);
        ctx.note(
            Severity::Warning,
            format!("not searched for secrets: {path} ({why})"),
        );
    }
}

const fn item(named: Named) -> SealItem {
    match named {
        Named::AuthorizedKeys => SealItem::AuthorizedKeys,
        Named::HostKeys => SealItem::HostKeys,
        Named::MachineId => SealItem::MachineId,
        Named::CloudInit => SealItem::CloudInit,
        Named::DhcpLeases => SealItem::DhcpLeases,
        Named::RandomSeed => SealItem::RandomSeed,
        Named::NetworkNames => SealItem::NetworkNames,
        Named::PackageCaches => SealItem::PackageCaches,
        Named::AptLists => SealItem::AptLists,
        Named::Histories => SealItem::Histories,
        Named::AnsibleRemains => SealItem::AnsibleRemains,
        Named::SsmAgent => SealItem::SsmAgent,
        Named::TemporaryFiles => SealItem::TemporaryFiles,
        Named::Logs => SealItem::Logs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name means the same to the recipe and to the guest.
    #[test]
    fn items_are_called_the_same_everywhere() {
        for guest in SealItem::ALL {
            let name = serde_json::Value::from(guest.as_str());
            let named: Named = serde_json::from_value(name).unwrap();
            assert_eq!(item(named), guest);
        }
    }
}
