//! Snapshots of the builder's volumes, each an effect of its own: those that a registered
//! image stands on, and those that are begun early so that EC2 has less to copy in the end.

use std::time::Duration;

use forno_aws::{Gateway, InstanceId, NewSnapshot, SnapshotId, SnapshotState, Tags, VolumeId};
use forno_events::{BakeId, Severity, StepId};
use forno_saga::{Effect, EffectId, Phase, RunError};
use tokio_util::sync::CancellationToken;

use super::adopt::{adopt, may_be_there};
use super::capture::Turn;
use super::context::{Context, of_wait};
use super::effects::{self, IMAGE, Made, SNAPSHOT, SnapshotIntent};
use crate::error::{CallError, of_effect};
use crate::plan::ids;
use crate::{Error, ErrorKind, Goal, names};

/// What a snapshot is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To go before others, and with everything else that is temporary.
    Early,
    /// To be the image's.
    Image,
}

impl Purpose {
    /// As tags and the ledger name it. Those of an image are found as those that EC2 makes.
    const fn step(self) -> &'static str {
        match self {
            Self::Early => "early-snapshot",
            Self::Image => IMAGE,
        }
    }

    const fn role(self) -> &'static str {
        match self {
            Self::Early => "early-snapshot",
            Self::Image => "image-snapshot",
        }
    }

    fn tags(self, ctx: &Context, device: &str) -> Tags {
        let prepared = &ctx.prepared;
        match self {
            Self::Early => {
                let name = names::temporary(&prepared.bake);
                prepared.tags(self.step(), &format!("{name}-{device}"))
            }
            Self::Image => prepared.image_tags.overlaid(&prepared.snapshot_tags),
        }
    }
}

/// One that a registered image is to stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfImage {
    pub(crate) effect: EffectId,
    pub(crate) device: String,
    pub(crate) snapshot: SnapshotId,
}

/// Begins them where the recipe wants it, and waits for none. What cannot be begun costs
/// time in the end, and nothing else.
pub(super) async fn begin_early(ctx: &Context, builder: &InstanceId) {
    let wanted = ctx.prepared.recipe.builder.early_snapshots;
    if !wanted || ctx.prepared.goal != Goal::Image {
        return;
    }
    let step = ids::seal();
    let begun = async {
        for (device, volume) in volumes(ctx, &step, builder).await? {
            let begun = begin(ctx, Purpose::Early, &device, &volume).await;
            begun.map_err(|error| failed(error, &device))?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = begun.await
        && !ctx.cancel.is_cancelled()
    {
        ctx.note(Severity::Warning, format!("no early snapshots: {error}"));
    }
}

/// Those of the stopped builder's volumes, completed; `shown` gets their progress in percent.
pub(super) async fn of_image(
    ctx: &Context,
    step: &StepId,
    builder: &InstanceId,
    shown: impl Fn(u8) + Send + Sync,
) -> Result<Vec<OfImage>, Error> {
    let mut made = Vec::new();
    for (device, volume) in volumes(ctx, step, builder).await? {
        let (effect, snapshot) = begin(ctx, Purpose::Image, &device, &volume)
            .await
            .map_err(|error| failed(error, &device))?;
        made.push(OfImage {
            effect,
            device,
            snapshot,
        });
    }
    let ids: Vec<SnapshotId> = made.iter().map(|one| one.snapshot.clone()).collect();
    let limit = ctx.prepared.recipe.builder.timeouts.capture.get();
    let wait = ctx.wait(step, "the snapshots to be completed", limit);
    ctx.gateway
        .await_snapshots(&ids, wait, shown)
        .await
        .map_err(|error| of_wait(&error, ErrorKind::Capture))?;
    Ok(made)
}

/// Those of an image that was asked for by a process that is gone.
pub(super) fn known_of_image(ctx: &Context) -> Vec<OfImage> {
    let fold = ctx.saga.ledger().fold();
    let made = fold.effects().iter().filter_map(|effect| {
        let intent = intent_of(effect)?;
        let there = matches!(effect.phase, Phase::Done | Phase::Kept);
        let snapshot = effects::id(effect)?.parse().ok()?;
        (there && intent.step == Purpose::Image.step()).then(|| OfImage {
            effect: effect.id.clone(),
            device: intent.device,
            snapshot,
        })
    });
    made.collect()
}

/// Of the builder, those that come into the image: device and volume.
async fn volumes(
    ctx: &Context,
    step: &StepId,
    builder: &InstanceId,
) -> Result<Vec<(String, VolumeId)>, Error> {
    let found = ctx
        .wait(step, "EC2 to describe the builder", Duration::from_mins(2))
        .of(builder)
        .while_refused(
            |error| error.kind().is_transient(),
            || ctx.gateway.instance(builder),
        )
        .await
        .map_err(|error| of_wait(&error, ErrorKind::Capture))?;
    let without = ctx.prepared.image_volumes().without;
    let attached = found.map(|instance| instance.volumes).unwrap_or_default();
    let attached: Vec<_> = attached
        .into_iter()
        .filter(|(device, _)| !without.contains(device))
        .collect();
    let root = ctx.prepared.source.root_device.as_deref();
    if attached
        .iter()
        .all(|(device, _)| Some(device.as_str()) != root)
    {
        return Err(Error::new(ErrorKind::Capture(format!(
            "{builder} does not show its root volume"
        ))));
    }
    Ok(attached)
}

fn intent_of(effect: &Effect) -> Option<SnapshotIntent> {
    let read = || effects::read(&effect.intent).ok();
    (effect.kind == SNAPSHOT).then(read).flatten()
}

/// Begun now, or by a process that is gone.
async fn begin(
    ctx: &Context,
    purpose: Purpose,
    device: &str,
    volume: &VolumeId,
) -> Result<(EffectId, SnapshotId), RunError<CallError>> {
    let fold = ctx.saga.ledger().fold();
    let tried: Vec<&Effect> = fold
        .effects()
        .iter()
        .filter(|effect| {
            intent_of(effect).is_some_and(|intent| {
                intent.step == purpose.step() && intent.volume == volume.as_str()
            })
        })
        .collect();
    let call = Call {
        gateway: ctx.gateway.clone(),
        new: NewSnapshot {
            volume: volume.clone(),
            description: format!("{device} of {}", ctx.prepared.bake),
            tags: purpose.tags(ctx, device),
        },
        bake: ctx.prepared.bake.clone(),
        step: purpose.step(),
        poll: ctx.settings.poll,
        cancel: ctx.cancel.clone(),
        turn: (purpose == Purpose::Image).then(|| Turn::new(ctx)),
    };
    let last = tried.last();
    if let Some(effect) = last.filter(|effect| effect.phase == Phase::Done)
        && let Some(id) = effects::id(effect).and_then(|id| id.parse().ok())
    {
        return Ok((effect.id.clone(), id));
    }
    let asked = last.filter(|e| matches!(e.phase, Phase::Intended | Phase::Unknown));
    let (effect, made) = if let Some(effect) = asked {
        // Asked for, and never answered.
        let again = async move {
            match call.made().await {
                Some(made) => Ok(made),
                None => call.make().await,
            }
        };
        (effect.id.clone(), ctx.take_up(&effect.id, again).await)
    } else {
        let number = tried.len() + 1;
        let effect = EffectId::new(format!("{}.{volume}.{number}", purpose.role()));
        let intent = SnapshotIntent {
            step: purpose.step().to_owned(),
            volume: volume.to_string(),
            device: device.to_owned(),
        };
        let intent = effects::intent(effect.clone(), SNAPSHOT, &intent);
        (effect, ctx.effect(intent, call.make()).await)
    };
    let Made { id } = made?;
    ctx.created(SNAPSHOT, &id);
    let id = id.parse().map_err(|_| RunError::BrokeOff(effect.clone()))?;
    Ok((effect, id))
}

fn failed(error: RunError<CallError>, device: &str) -> Error {
    of_effect(error, |error| {
        ErrorKind::Capture(format!("no snapshot of {device}: {error}"))
    })
}

/// How often a call is made that may have made something, and has not.
const TRIES: u32 = 3;

/// CreateSnapshot, with what belongs to it. It outlives whoever waits for it.
struct Call {
    gateway: Gateway,
    new: NewSnapshot,
    bake: BakeId,
    step: &'static str,
    poll: Duration,
    cancel: CancellationToken,
    /// Who waits where EC2 makes too many at once.
    turn: Option<Turn>,
}

impl Call {
    async fn make(self) -> Result<Made, forno_aws::Error> {
        let mut unknown = 0;
        loop {
            let error = match self.gateway.create_snapshot(&self.new).await {
                Ok(id) => return Ok(Made { id: id.to_string() }),
                Err(error) => error,
            };
            if may_be_there(&error) {
                if let Some(made) = self.made().await {
                    return Ok(made);
                }
                unknown += 1;
                if unknown < TRIES && !self.cancel.is_cancelled() {
                    continue;
                }
                return Err(error);
            }
            match &self.turn {
                Some(turn) if turn.comes(&error).await => {}
                _ => return Err(error),
            }
        }
    }

    /// What a call without an answer has made, if it shows: of this volume, with our tags.
    async fn made(&self) -> Option<Made> {
        let by = names::found_by(&self.bake, self.step);
        let look = || async {
            let found = self.gateway.snapshots_tagged(&by).await?;
            Ok(found.into_iter().find(|snapshot| {
                let is_whole = snapshot.state != SnapshotState::Error;
                is_whole && snapshot.volume.as_ref() == Some(&self.new.volume)
            }))
        };
        let snapshot = adopt(self.poll, &self.cancel, look).await?;
        Some(Made {
            id: snapshot.id.to_string(),
        })
    }
}
