//! Bakes of this machine whose process is gone. Their ledgers say what may exist,
//! also what nobody was answered about.

use forno_aws::{Image, TagMatch};
use forno_events::{BakeId, Resource};
use forno_saga::{Closing, Effect, Ledger, Phase, Saga};

use super::{Fate, Known, Standing, Sweep};
use crate::bake::{IMAGE, PlaceOf, Publication, forget, lacks_copies, mark_finished, resource};
use crate::plan::{Saved, ids};
use crate::{BakeFolder, Error, ErrorKind, names};

const REASON: &str = "the process of its bake is gone";

impl Sweep<'_> {
    pub(super) async fn dead(&self) -> Result<Known, Error> {
        let mut known = Known::new();
        let folders = self
            .bakes
            .list()
            .map_err(Error::io("list the bakes of this machine"))?;
        for folder in folders {
            if self.is_stopped() {
                // What is not looked at is not to be judged by its tags either.
                known.insert(folder.id().clone(), Standing::Untouched);
                continue;
            }
            match self.look_at(&folder).await {
                Ok(Some(standing)) => {
                    known.insert(folder.id().clone(), standing);
                }
                Ok(None) => {}
                // One that cannot be taken up does not stand in the way of the rest.
                Err(error) => {
                    let fate = Fate::Left {
                        error: error.to_string(),
                        command: "forno sweep".to_owned(),
                    };
                    let path = folder.path().display().to_string();
                    self.note(folder.id().as_str(), "ledger", &path, REASON, fate);
                    known.insert(folder.id().clone(), Standing::Untouched);
                }
            }
        }
        Ok(known)
    }

    /// `None` where only its tags can tell.
    async fn look_at(&self, folder: &BakeFolder) -> Result<Option<Standing>, Error> {
        let bake = folder.id();
        if folder.is_alive()? {
            return Ok(Some(Standing::Untouched));
        }
        let fold = match folder.ledger() {
            Ok(history) => history.fold,
            Err(error) => {
                let why = format!("{error}; what carries its tags goes when its time is over");
                let path = folder.path().display().to_string();
                self.note(bake.as_str(), "ledger", &path, REASON, Fate::Spared { why });
                return Ok(None);
            }
        };
        let over = Standing::Over {
            image_stays: fold.is_past_return(),
        };
        if matches!(fold.closing(), Some(Closing::Finished | Closing::Undone)) {
            return Ok(Some(over));
        }
        let left: Vec<&Effect> = fold.unreleased().collect();
        let product = fold.effects().iter().find(|effect| is_product(effect));
        if left.is_empty() && product.is_none() {
            return Ok(Some(over));
        }
        let Ok(place) = serde_json::from_value::<PlaceOf>(fold.place().clone()) else {
            let why = "it does not say where its things lie; what carries its tags goes when its time is over";
            let path = folder.path().display().to_string();
            let why = why.to_owned();
            self.note(bake.as_str(), "ledger", &path, REASON, Fate::Spared { why });
            return Ok(None);
        };
        let spared = if place.is_same(&self.here) {
            self.too_young(bake)
        } else {
            Some(format!("it lies elsewhere: {place}"))
        };
        let used = if spared.is_none() && left.iter().any(|effect| effect.kind == IMAGE) {
            match self.unless_stopped(self.used_images(bake)).await? {
                Some(used) => used,
                None => return Ok(Some(Standing::Untouched)),
            }
        } else {
            None
        };
        for effect in &left {
            match &spared {
                Some(why) => {
                    let Resource { kind, id, .. } = resource(effect, &place.region);
                    let fate = Fate::Spared { why: why.clone() };
                    self.note_in(&place.region, bake.as_str(), &kind, &id, REASON, fate);
                }
                None if used.is_some() && effect.kind == IMAGE => {
                    let why = used.clone().unwrap_or_default();
                    self.note_effect(bake, effect, REASON, Fate::Spared { why });
                }
                None if self.options.dry_run => {
                    self.note_effect(bake, effect, REASON, Fate::WouldBeRemoved);
                }
                None => {}
            }
        }
        if spared.is_some() {
            return Ok(Some(Standing::Untouched));
        }
        if self.options.dry_run {
            if let Some(image) = product {
                self.note_effect(bake, image, REASON, Fate::WouldBeFinished);
            }
            return Ok(Some(over));
        }
        match Ledger::reopen(folder.path()) {
            Ok(ledger) => {
                let closing = self
                    .adopt(folder, Saga::new(ledger), used.is_some())
                    .await?;
                // What could not be removed now is not tried once more by its tags.
                let is_over = closing != Closing::Leaking;
                Ok(Some(if is_over { over } else { Standing::Untouched }))
            }
            // Another sweep was quicker.
            Err(forno_saga::Error::Alive(_)) => Ok(Some(Standing::Untouched)),
            Err(error) => Err(Error::new(error)),
        }
    }

    /// What uses an unfinished image of this bake.
    async fn used_images(&self, bake: &BakeId) -> Result<Option<String>, Error> {
        let of_bake = [TagMatch::is(names::BAKE, bake.as_str())];
        let images = self.gateway.images_tagged(&of_bake).await;
        let images: Vec<_> = images
            .map_err(ErrorKind::Planning)?
            .into_iter()
            .map(|image| image.id)
            .collect();
        Ok(self.users_of(&images).await?.into_values().next())
    }

    /// Brings a dead bake to its end: forward from the point of no return on,
    /// otherwise back.
    pub(super) async fn adopt(
        &self,
        folder: &BakeFolder,
        saga: Saga,
        image_stays: bool,
    ) -> Result<Closing, Error> {
        let bake = folder.id();
        self.complete(bake, saga.ledger()).await?;
        // As it is now that nobody else can write it.
        let fold = saga.ledger().fold();
        let mut closing = Closing::Undone;
        let mut unpublished = None;
        for image in fold.effects().iter().filter(|effect| is_product(effect)) {
            let id = resource(image, &self.here.region).id;
            let of_bake = [TagMatch::is(names::BAKE, bake.as_str())];
            let images = self.gateway.images_tagged(&of_bake).await;
            let images = images.map_err(ErrorKind::Planning)?;
            let fate = match images.iter().find(|image| image.id.as_str() == id) {
                Some(image) => {
                    let marked = mark_finished(self.gateway, image).await;
                    marked.map_err(|error| ErrorKind::Capture(error.to_string()))?;
                    unpublished = self.publish(folder, &saga, image).await.err();
                    Fate::Finished
                }
                None => Fate::Spared {
                    why: "it has been deregistered since".to_owned(),
                },
            };
            self.note_effect(bake, image, REASON, fate);
            closing = Closing::Finished;
        }
        let goes = |effect: &Effect| !(image_stays && effect.kind == IMAGE);
        let left = self.undo(bake, &saga, &goes, REASON).await;
        let saved = folder.plan()?.filter(Saved::is_known);
        let lacks = closing == Closing::Finished
            && saved.is_some_and(|saved| {
                lacks_copies(&saga.ledger().fold(), &saved.publish, &saved.region)
            });
        if lacks && self.copies.is_none() {
            let why = format!("not copied to every region yet: `forno resume {bake}` does it");
            self.note(
                bake.as_str(),
                "image-copy",
                bake.as_str(),
                REASON,
                Fate::Spared { why },
            );
        }
        if !left.is_empty() || image_stays {
            // Not closed for good: a later sweep looks again.
            closing = Closing::Leaking;
        }
        forget(bake);
        if let Some(error) = unpublished {
            return Err(error);
        }
        if lacks && left.is_empty() {
            // Open, for whoever makes the copies.
            return Ok(Closing::Leaking);
        }
        saga.close(closing).await.map_err(Error::new)?;
        Ok(closing)
    }
}

impl Sweep<'_> {
    /// As its recipe said when the bake began; copies are made only where somebody
    /// waits for them.
    async fn publish(&self, folder: &BakeFolder, saga: &Saga, image: &Image) -> Result<(), Error> {
        let Some(saved) = folder.plan()?.filter(Saved::is_known) else {
            return Ok(());
        };
        if saved.publish.is_empty() {
            return Ok(());
        }
        let publication = Publication {
            saga,
            home: self.gateway,
            saved: &saved,
            settings: self.settings,
            ladder: self.ladder,
            listener: self.copies,
            step: ids::publish(),
        };
        publication.make(image).await
    }
}

fn is_product(effect: &Effect) -> bool {
    effect.kind == IMAGE && effect.phase == Phase::Kept
}
