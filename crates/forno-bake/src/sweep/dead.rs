//! Bakes of this machine whose process is gone. Their ledgers say what may exist,
//! also what nobody was answered about.

use forno_aws::TagMatch;
use forno_events::Resource;
use forno_saga::{Closing, Effect, Ledger, Phase, Saga};

use super::{Fate, Known, Sweep};
use crate::bake::{IMAGE, PlaceOf, mark_finished, resource};
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
            if self.look_at(&folder).await? {
                known.insert(folder.id().clone());
            }
        }
        Ok(known)
    }

    /// `false` where only its tags can tell.
    async fn look_at(&self, folder: &BakeFolder) -> Result<bool, Error> {
        let bake = folder.id();
        if folder.is_alive()? {
            return Ok(true);
        }
        let fold = match folder.ledger() {
            Ok(history) => history.fold,
            Err(error) => {
                let why = format!("{error}; what carries its tags goes when its time is over");
                let path = folder.path().display().to_string();
                self.note(bake.as_str(), "ledger", &path, REASON, Fate::Spared { why });
                return Ok(false);
            }
        };
        if matches!(fold.closing(), Some(Closing::Finished | Closing::Undone)) {
            return Ok(true);
        }
        let left: Vec<&Effect> = fold.unreleased().collect();
        let product = fold.effects().iter().find(|effect| is_product(effect));
        if left.is_empty() && product.is_none() {
            return Ok(true);
        }
        let place: Option<PlaceOf> = serde_json::from_value(fold.place().clone()).ok();
        let spared = match &place {
            Some(place) if place.is_same(&self.here) => self.too_young(bake),
            Some(place) => Some(format!("it lies elsewhere: {place}")),
            None => Some("its ledger does not say where it lies".to_owned()),
        };
        for effect in &left {
            match &spared {
                Some(why) => {
                    let region = place.as_ref().map_or("", |place| &place.region);
                    let Resource { kind, id, .. } = resource(effect, region);
                    let fate = Fate::Spared { why: why.clone() };
                    self.note_in(region, bake.as_str(), &kind, &id, REASON, fate);
                }
                None if self.options.dry_run => {
                    self.note_effect(bake, effect, REASON, Fate::WouldBeRemoved);
                }
                None => {}
            }
        }
        if spared.is_some() {
            return Ok(true);
        }
        if self.options.dry_run {
            if let Some(image) = product {
                self.note_effect(bake, image, REASON, Fate::WouldBeFinished);
            }
            return Ok(true);
        }
        match Ledger::reopen(folder.path()) {
            Ok(ledger) => self.adopt(folder, Saga::new(ledger)).await?,
            // Another sweep was quicker.
            Err(forno_saga::Error::Alive(_)) => {}
            Err(error) => return Err(Error::new(error)),
        }
        Ok(true)
    }

    /// Brings a dead bake to its end: forward from the point of no return on,
    /// otherwise back.
    async fn adopt(&self, folder: &BakeFolder, saga: Saga) -> Result<(), Error> {
        let bake = folder.id();
        // As it is now that nobody else can write it.
        let fold = saga.ledger().fold();
        let mut closing = Closing::Undone;
        for image in fold.effects().iter().filter(|effect| is_product(effect)) {
            let id = resource(image, &self.here.region).id;
            let of_bake = [TagMatch::is(names::BAKE, bake.as_str())];
            let images = self.gateway.images_tagged(&of_bake).await;
            let images = images.map_err(ErrorKind::Planning)?;
            let fate = match images.iter().find(|image| image.id.as_str() == id) {
                Some(image) => {
                    let marked = mark_finished(self.gateway, image).await;
                    marked.map_err(|error| ErrorKind::Capture(error.to_string()))?;
                    Fate::Finished
                }
                None => Fate::Spared {
                    why: "it has been deregistered since".to_owned(),
                },
            };
            self.note_effect(bake, image, REASON, fate);
            closing = Closing::Finished;
        }
        if !self.undo(bake, &saga, REASON).await.is_empty() {
            closing = Closing::Leaking;
        }
        saga.close(closing).await.map_err(Error::new)
    }
}

fn is_product(effect: &Effect) -> bool {
    effect.kind == IMAGE && effect.phase == Phase::Kept
}
