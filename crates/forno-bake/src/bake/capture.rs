//! Phase 8: the stopped builder becomes an image.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use forno_aws::{
    Gateway, Image, ImageId, InstanceId, Kind, NewImage, Outcome, Registration, WaitError,
};
use forno_events::{BakeId, Emitter, Event, Outcome as StepOutcome, StepId, Unit};
use forno_recipe::Market;
use forno_saga::{Deadline, Effect, EffectId, Phase};
use tokio_util::sync::CancellationToken;

use super::adopt::{adopt, may_be_there};
use super::context::{Context, of_wait};
use super::effects::{self, IMAGE, Made, NamedIntent};
use super::machine::ended;
use super::register;
use crate::error::{ErrorKind, of_effect};
use crate::journal::millis;
use crate::plan::ids;
use crate::{Error, names};

/// Stopped first: a running machine's disk is never quite still. A Spot Instance cannot
/// be stopped; EC2 makes the image while it reboots.
pub(super) async fn stop(ctx: &Context, id: &InstanceId) -> Result<(), Error> {
    let step = ids::stop();
    if is_spot(ctx, id).await? {
        ctx.emitter.emit(Event::StepFinished {
            step,
            outcome: StepOutcome::Skipped,
            attempt: 1,
            elapsed_ms: 0,
            message: Some("a Spot Instance cannot be stopped: it reboots for its image".to_owned()),
        });
        return Ok(());
    }
    let limit = ctx.prepared.recipe.builder.timeouts.stop.get();
    let failed = |text| ErrorKind::Capture(format!("the builder does not stop: {text}"));
    ctx.step(&step, async {
        // Stopping what stops already is no error, so after a lost answer it is
        // simply asked again.
        let mut tries = 0;
        loop {
            tries += 1;
            let asked = tokio::select! {
                asked = ctx.gateway.stop_instance(id) => asked,
                () = ctx.cancel.cancelled() => return Err(Error::cancelled("cancelled")),
            };
            match asked {
                Ok(()) => break,
                Err(error) if error.outcome() == Outcome::Unknown && tries < 3 => {}
                Err(error) => {
                    let error = Error::new(failed(error.to_string()));
                    return Err(ended(ctx, &step, id).await.unwrap_or(error));
                }
            }
        }
        let stopped = ctx
            .gateway
            .await_stopped(id, ctx.wait(&step, "the builder to stop", limit))
            .await;
        match stopped {
            Ok(_) => Ok(()),
            Err(error) if error.is_cancelled() => Err(of_wait(&error, failed)),
            Err(error) => {
                let error = of_wait(&error, failed);
                Err(ended(ctx, &step, id).await.unwrap_or(error))
            }
        }
    })
    .await
}

/// Asked only where a machine of this bake can be one.
async fn is_spot(ctx: &Context, id: &InstanceId) -> Result<bool, Error> {
    let places = &ctx.prepared.places;
    if places.iter().all(|place| place.market == Market::OnDemand) {
        return Ok(false);
    }
    let limit = Duration::from_mins(2);
    let found = ctx
        .wait(&ids::stop(), "EC2 to describe the builder", limit)
        .of(id)
        .while_refused(
            |error| error.kind().is_transient(),
            || ctx.gateway.instance(id),
        )
        .await
        .map_err(|error| of_wait(&error, ErrorKind::Capture))?;
    Ok(found.is_some_and(|instance| instance.is_spot))
}

/// The image, available; with the names of its effects, its own first.
/// `from` is the builder, as long as it must stay for it.
pub(super) async fn capture(
    ctx: &Context,
    from: Option<&InstanceId>,
) -> Result<(Vec<EffectId>, Image), Error> {
    let step = ids::image();
    ctx.step(&step, async {
        let effect = EffectId::new(IMAGE);
        let image = create(ctx, &effect, from).await?;
        let limit = ctx.prepared.recipe.builder.timeouts.capture.get();
        let available = ctx.gateway.await_image(
            &image,
            ctx.wait(&step, "the image to be available", limit),
            shown(ctx, &step),
        );
        let available = tokio::select! {
            biased;
            available = available => {
                available.map_err(|error: WaitError| of_wait(&error, ErrorKind::Capture))?
            }
            error = ends(ctx, &step, from) => return Err(error),
        };
        let effects = std::iter::once(effect).chain(register::stands_on(ctx));
        Ok((effects.collect(), available))
    })
    .await
}

/// Tells of each new percentage.
pub(super) fn shown<'a>(ctx: &'a Context, step: &'a StepId) -> impl Fn(u8) + Send + Sync + 'a {
    let last = AtomicU8::new(u8::MAX);
    move |percent| {
        if last.swap(percent, Ordering::Relaxed) != percent {
            ctx.emitter.emit(Event::Progress {
                step: step.clone(),
                done: percent.into(),
                total: Some(100),
                unit: Unit::Percent,
            });
        }
    }
}

/// Ends only when the stopped builder ends although its disk is still needed. The disk of
/// one that was never stopped has been copied when EC2 starts it again; whether that came
/// to an image is told by the image.
async fn ends(ctx: &Context, step: &StepId, id: Option<&InstanceId>) -> Error {
    let Some(id) = id else {
        return std::future::pending().await;
    };
    if is_spot(ctx, id).await.unwrap_or(false) {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(ctx.settings.poll).await;
        if let Some(error) = ended(ctx, step, id).await {
            let hint = error.hint();
            let error = Error::new(ErrorKind::Capture(error.to_string()));
            return match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            };
        }
    }
}

/// Whether this effect is the image.
pub(crate) fn is_image(effect: &Effect) -> bool {
    effect.kind == IMAGE
}

/// Whether the image is there, or may be.
pub(crate) fn may_become(image: &Effect) -> bool {
    matches!(image.phase, Phase::Intended | Phase::Unknown | Phase::Done)
}

async fn create(
    ctx: &Context,
    effect: &EffectId,
    from: Option<&InstanceId>,
) -> Result<ImageId, Error> {
    let fold = ctx.saga.ledger().fold();
    let begun = fold.effect(effect);
    let made = if let Some(id) = begun.and_then(effects::id) {
        Made { id }
    } else {
        let new = match &ctx.prepared.recipe.register {
            None => New::Create(Box::new(of_machine(ctx, from)?)),
            Some(register) => {
                // Once it was asked for, its snapshots are there.
                let from = from.filter(|_| begun.is_none());
                let registration =
                    register::registration(ctx, register, &ids::image(), from).await?;
                New::Register(Box::new(registration))
            }
        };
        let name = &ctx.prepared.ami_name;
        let intent = NamedIntent::intent(effect.clone(), IMAGE, name, IMAGE);
        let call = Call::new(ctx, new);
        let made = if begun.is_none() {
            ctx.effect(intent, call.make()).await
        } else {
            // Asked for, and never answered. Its name is this bake's alone, and EC2
            // has no two images of one name: asking again makes no second.
            let again = async move {
                match call.made().await {
                    Some(made) => Ok(made),
                    None => call.make().await,
                }
            };
            ctx.take_up(effect, again).await
        };
        made.map_err(|error| of_effect(error, |error| ErrorKind::Capture(error.to_string())))?
    };
    ctx.created(IMAGE, &made.id);
    ImageId::new(made.id).map_err(|error| Error::new(ErrorKind::Capture(error.to_string())))
}

fn of_machine(ctx: &Context, from: Option<&InstanceId>) -> Result<NewImage, Error> {
    let instance = from.cloned().ok_or_else(|| {
        Error::new(ErrorKind::Capture(
            "there is no machine to make it from".to_owned(),
        ))
    })?;
    let prepared = &ctx.prepared;
    Ok(NewImage {
        instance,
        name: prepared.ami_name.clone(),
        description: prepared.description.clone(),
        tags: prepared.image_tags.clone(),
        snapshot_tags: prepared.snapshot_tags.clone(),
        volumes: prepared.image_volumes(),
    })
}

/// The two ways to an image.
enum New {
    Create(Box<NewImage>),
    Register(Box<Registration>),
}

/// CreateImage or RegisterImage, with what belongs to it. It outlives whoever waits for it.
struct Call {
    gateway: Gateway,
    new: New,
    name: String,
    bake: BakeId,
    poll: Duration,
    cancel: CancellationToken,
    turn: Turn,
}

impl Call {
    fn new(ctx: &Context, new: New) -> Self {
        Self {
            gateway: ctx.gateway.clone(),
            new,
            name: ctx.prepared.ami_name.clone(),
            bake: ctx.prepared.bake.clone(),
            poll: ctx.settings.poll,
            cancel: ctx.cancel.clone(),
            turn: Turn::new(ctx),
        }
    }

    async fn make(self) -> Result<Made, forno_aws::Error> {
        let error = loop {
            let made = match &self.new {
                New::Create(new) => self.gateway.create_image(new).await,
                New::Register(new) => self.gateway.register_image(new).await,
            };
            match made {
                Ok(id) => return Ok(Made { id: id.to_string() }),
                Err(error) if self.turn.comes(&error).await => {}
                Err(error) => break error,
            }
        };
        if may_be_there(&error) {
            return self.made().await.ok_or(error);
        }
        Err(error)
    }

    /// What a call without an answer has made, if it shows. There is no token, but
    /// the name with our tag is proof.
    async fn made(&self) -> Option<Made> {
        let look = || async {
            let images = self.gateway.images_named(&self.name).await?;
            Ok(images
                .into_iter()
                .find(|image| image.tags.get(names::BAKE) == Some(self.bake.as_str())))
        };
        let image = adopt(self.poll, &self.cancel, look).await?;
        Some(Made {
            id: image.id.to_string(),
        })
    }
}

/// EC2 makes only so many snapshots at once, and wants a dozen seconds between two
/// of one volume. Refused for that, the call is made again; nothing has happened.
pub(super) struct Turn {
    emitter: Emitter,
    cancel: CancellationToken,
    pause: Duration,
    until: Deadline,
}

impl Turn {
    pub(super) fn new(ctx: &Context) -> Self {
        Self {
            emitter: ctx.emitter.clone(),
            cancel: ctx.cancel.clone(),
            pause: ctx.settings.poll * 8,
            until: Deadline::after(ctx.prepared.recipe.builder.timeouts.capture.get()),
        }
    }

    /// `false`: it was refused for something else, or there is no time for it any more.
    pub(super) async fn comes(&self, refusal: &forno_aws::Error) -> bool {
        if refusal.kind() != Kind::Busy {
            return false;
        }
        self.emitter.emit(Event::Waiting {
            step: ids::image(),
            what: "EC2 to take another snapshot".to_owned(),
            resource: None,
            state: refusal.code().unwrap_or("refused").to_owned(),
            waited_ms: millis(self.until.waited()),
            deadline_ms: millis(self.until.limit()),
        });
        tokio::select! {
            () = self.until.pause(self.pause) => !self.until.passed(),
            () = self.cancel.cancelled() => false,
        }
    }
}
