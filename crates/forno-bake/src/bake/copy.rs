//! Copies of an image in other regions.
//!
//! Each is an effect of its own, with its region in the intent. CopyImage has a client
//! token: a call that was never answered is simply made again, and makes no second copy.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forno_aws::{Gateway, Image, ImageCopy, ImageId};
use forno_events::{Event, Resource, Unit};
use forno_recipe::Period;
use forno_saga::{Effect, EffectId, Phase};
use tokio_util::sync::CancellationToken;

use super::adopt::{adopt, may_be_there};
use super::context::of_wait;
use super::effects::{self, COPY, CopyIntent, Made};
use super::publish::Publication;
use crate::error::{CallError, of_effect};
use crate::{Error, ErrorKind, names};

/// For one copy. Large images take hours between continents.
const LIMIT: Duration = Duration::from_hours(6);

/// The copies of one image.
pub(super) struct Copies<'a> {
    publication: &'a Publication<'a>,
    image: &'a Image,
    /// Percent by region.
    shown: Mutex<BTreeMap<String, u8>>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(publication: &'a Publication<'a>, image: &'a Image) -> Self {
        Self {
            publication,
            image,
            shown: Mutex::default(),
        }
    }

    /// The copy in the gateway's region, available; with its effect, where that is to
    /// be kept from now on. None where there is none and none is to be made.
    pub(super) async fn make(
        &self,
        there: &Gateway,
    ) -> Result<Option<(Option<EffectId>, Image)>, Error> {
        let of = self.publication;
        let region = there.region();
        let failed = |text: String| ErrorKind::Publish(format!("{region}: {text}"));
        let Some((effect, id, is_kept)) = self.begun(there).await? else {
            return Ok(None);
        };
        if !is_kept {
            of.emit(Event::ResourceCreated(Resource {
                kind: COPY.to_owned(),
                id: id.to_string(),
                region: region.to_owned(),
            }));
        }
        let wait = of.wait(
            &format!("the copy in {region} to be available"),
            LIMIT,
            self.cancel(),
        );
        let available = there
            .await_image(&id, wait, |percent| self.show(region, percent))
            .await
            .map_err(|error| of_wait(&error, failed))?;
        Ok(Some(((!is_kept).then_some(effect), available)))
    }

    /// The copy that is there already, or is asked for now.
    async fn begun(&self, there: &Gateway) -> Result<Option<(EffectId, ImageId, bool)>, Error> {
        let saga = self.publication.saga;
        let region = there.region();
        let failed = |text: String| ErrorKind::Publish(format!("{region}: {text}"));
        let fold = saga.ledger().fold();
        let here = |effect: &&Effect| {
            effect.kind == COPY && effects::region(effect).as_deref() == Some(region)
        };
        let tried: Vec<&Effect> = fold.effects().iter().filter(here).collect();
        let last = tried.last();
        let makes = self.publication.listener.is_some();
        if let Some(effect) =
            last.filter(|e| e.phase == Phase::Kept || (e.phase == Phase::Done && makes))
            && let Some(id) = effects::id(effect)
        {
            let id = ImageId::new(id).map_err(|error| Error::new(failed(error.to_string())))?;
            return Ok(Some((effect.id.clone(), id, effect.phase == Phase::Kept)));
        }
        if !makes {
            return Ok(None);
        }
        let asked = last.filter(|e| matches!(e.phase, Phase::Intended | Phase::Unknown));
        let (effect, made) = if let Some(effect) = asked {
            let intent: CopyIntent = effects::read(&effect.intent)
                .map_err(|error| Error::new(failed(error.to_string())))?;
            let call = self.call(there, &intent.client_token);
            let call = async move { call.make().await.map_err(CallError) };
            let made = saga.take_up(effect.id.clone(), &self.cancel(), call).await;
            (effect.id.clone(), made)
        } else {
            let number = (tried.len() + 1).to_string();
            let effect = EffectId::new(format!("{COPY}.{region}.{number}"));
            let saved = self.publication.saved;
            let intent = CopyIntent {
                step: COPY.to_owned(),
                name: saved.ami_name.clone(),
                region: region.to_owned(),
                client_token: names::client_token(&saved.bake, &[COPY, region, &number]),
            };
            let call = self.call(there, &intent.client_token);
            let call = async move { call.make().await.map_err(CallError) };
            let intent = effects::intent(effect.clone(), COPY, &intent);
            (effect, saga.run(intent, &self.cancel(), call).await)
        };
        let made = made.map_err(|error| of_effect(error, |error| failed(error.to_string())))?;
        let id = ImageId::new(made.id).map_err(|error| Error::new(failed(error.to_string())))?;
        Ok(Some((effect, id, false)))
    }

    fn call(&self, there: &Gateway, client_token: &str) -> Call {
        let of = self.publication;
        let mut tags = of.saved.image_tags.clone();
        tags.insert(names::STEP, COPY);
        Call {
            gateway: there.clone(),
            copy: ImageCopy {
                source: self.image.id.clone(),
                source_region: of.home.region().to_owned(),
                client_token: client_token.to_owned(),
                name: of.saved.ami_name.clone(),
                description: of.saved.description.clone(),
                tags,
                snapshot_tags: of.saved.snapshot_tags.clone(),
                kms_key_id: of.saved.publish.kms_key_ids.get(there.region()).cloned(),
                within_minutes: of.saved.publish.copy_within.and_then(minutes),
            },
            poll: of.settings.poll,
            cancel: self.cancel(),
        }
    }

    fn cancel(&self) -> CancellationToken {
        self.publication.ladder.token().child_token()
    }

    /// Of all copies together.
    fn show(&self, region: &str, percent: u8) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.insert(region.to_owned(), percent) == Some(percent) {
            return;
        }
        let sum: u64 = shown.values().map(|&percent| u64::from(percent)).sum();
        let count = shown.len() as u64;
        drop(shown);
        self.publication.emit(Event::Progress {
            step: self.publication.step.clone(),
            done: sum / count.max(1),
            total: Some(100),
            unit: Unit::Percent,
        });
    }
}

fn minutes(period: Period) -> Option<u32> {
    u32::try_from(period.get().as_secs() / 60).ok()
}

/// CopyImage, with what belongs to it. It outlives whoever waits for it.
struct Call {
    gateway: Gateway,
    copy: ImageCopy,
    poll: Duration,
    cancel: CancellationToken,
}

impl Call {
    async fn make(self) -> Result<Made, forno_aws::Error> {
        match self.gateway.copy_image(&self.copy).await {
            Ok(id) => Ok(Made { id: id.to_string() }),
            Err(error) if may_be_there(&error) => self.made().await.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// What a call without an answer has made, if it shows. The name with our tag is
    /// proof.
    async fn made(&self) -> Option<Made> {
        let look = || async {
            let images = self.gateway.images_named(&self.copy.name).await?;
            Ok(images
                .into_iter()
                .find(|image| image.tags.get(names::BAKE) == self.copy.tags.get(names::BAKE)))
        };
        let image = adopt(self.poll, &self.cancel, look).await?;
        Some(Made {
            id: image.id.to_string(),
        })
    }
}
