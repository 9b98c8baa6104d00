//! `forno resume`: a bake whose process is gone goes on in this one.
//!
//! Where it goes on follows from its ledger alone. Past the point of no return it is
//! brought to its end as a sweep would do it. From the capture on, all that is left can
//! be repeated. Before that the builder must live and its key be in the kernel's
//! keyring, and what has passed on it is not done again.

use std::sync::Arc;

use forno_aws::{Identity, Image, ImageId, Kind};
use forno_events::{Event, Outcome, Resource, Severity};
use forno_recipe::Recipe;
use forno_saga::{Closing, Failure, Fold, Ledger, Saga, Unreleased};

use crate::bake::{self, PlaceOf, is_image, may_become};
use crate::journal::{Journal, Masker};
use crate::manifest::Manifest;
use crate::plan::{Prepared, RecipeSource, Saved, digest_of, ids, is_loopback};
use crate::sweep::Fate;
use crate::{BakeFolder, BakeReport, Engine, Error, ErrorKind, folder};

/// What can be done about a dead bake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It can go on.
    Resume,
    /// What is left of it can only be removed.
    Sweep,
}

/// A dead bake, held by this process.
#[derive(Debug)]
pub struct Resumption {
    folder: BakeFolder,
    ledger: Ledger,
    place: PlaceOf,
    saved: Option<Saved>,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// Past the point of no return.
    Finish,
    /// Its image is there, or may be.
    Image,
    Builder,
}

impl Resumption {
    /// Takes the bake, if no other process has it and it is not over.
    pub fn open(folder: &BakeFolder) -> Result<Self, Error> {
        let bake = folder.id();
        let ledger = Ledger::reopen(folder.path()).map_err(|error| match error {
            forno_saga::Error::Alive(_) => Error::new(ErrorKind::Alive(bake.clone()))
                .with_hint(format!("`forno show {bake}` says how far it is")),
            error @ forno_saga::Error::Corrupt(_) => Error::new(error)
                .with_hint("`forno sweep` removes by its tags what it left, once its time is over"),
            error => Error::new(error),
        })?;
        let fold = ledger.fold();
        // One that could not be marked or published in the end can be again.
        let unfinished = fold.closing() == Some(Closing::Leaking) && fold.is_past_return();
        if let Some(closing) = fold.closing().filter(|_| !unfinished) {
            return Err(over(folder, closing));
        }
        let place = serde_json::from_value(fold.place().clone()).map_err(|_| {
            Error::new(ErrorKind::Preflight(format!(
                "the ledger of {bake} does not say where it was begun"
            )))
        })?;
        Ok(Self {
            saved: folder.plan()?.filter(Saved::is_known),
            folder: folder.clone(),
            way: way(&fold),
            ledger,
            place,
        })
    }

    /// The recipe that is needed to go on; none past the point of no return.
    pub fn recipe(&self) -> Result<Option<&RecipeSource>, Error> {
        match (&self.way, &self.saved) {
            (Way::Finish, _) => Ok(None),
            (_, Some(saved)) => Ok(Some(&saved.recipe)),
            (_, None) => Err(Error::new(ErrorKind::Preflight(format!(
                "{} cannot be taken up: its folder has no plan that this forno can read",
                self.folder.id()
            )))
            .with_hint("`forno sweep` removes what it left")),
        }
    }

    /// Whether steps on the builder are left, which takes the programs that they use.
    pub fn has_steps(&self) -> bool {
        matches!(self.way, Way::Builder)
    }

    pub fn region(&self) -> &str {
        &self.place.region
    }

    /// Whether it was begun on a pocket EC2.
    pub fn is_local(&self) -> bool {
        self.place.endpoint_url.as_deref().is_some_and(is_loopback)
    }
}

fn way(fold: &Fold) -> Way {
    if fold.is_past_return() {
        return Way::Finish;
    }
    let image = fold.effects().iter().find(|effect| is_image(effect));
    match image {
        Some(image) if may_become(image) => Way::Image,
        _ => Way::Builder,
    }
}

fn over(folder: &BakeFolder, closing: Closing) -> Error {
    let image = folder.manifest().ok().flatten();
    let became = match (closing, image) {
        (Closing::Finished, Some(manifest)) => format!("it made {}", manifest.image_id),
        (Closing::Finished, None) => "its image is finished".to_owned(),
        (Closing::Undone, _) => "it came to nothing, and nothing is left of it".to_owned(),
        (Closing::Leaking, _) => "something is left behind".to_owned(),
        (Closing::Kept, _) => "its machine was kept".to_owned(),
    };
    let error = Error::new(ErrorKind::Over {
        bake: folder.id().clone(),
        became,
    });
    match closing {
        Closing::Leaking => error.with_hint("`forno sweep` removes it"),
        _ => error,
    }
}

/// What of the bake's digest is not as it was.
async fn changes(saved: &Saved, recipe: &Arc<Recipe>) -> Result<Vec<String>, Error> {
    let now = digest_of(recipe, &saved.source).await?;
    Ok(now.changes_since(&saved.digest))
}

impl Engine {
    /// Goes on with a dead bake. An error means that it is what it was and can be tried
    /// again; how the bake ended is in the report.
    pub async fn resume(
        &self,
        taken: Resumption,
        recipe: Option<Recipe>,
    ) -> Result<BakeReport, Error> {
        let bake = taken.folder.id();
        let identity = self.identity().await?;
        let here = PlaceOf::new(self.gateway(), identity.as_ref());
        if !taken.place.is_same(&here) {
            return Err(Error::new(ErrorKind::Preflight(format!(
                "{bake} was begun in {}, and this is {here}",
                taken.place
            )))
            .with_hint(
                "--local, --region, --profile and the credentials must be those of the bake",
            ));
        }
        if let Way::Finish = taken.way {
            return Box::pin(self.finish(taken, here)).await;
        }
        taken.recipe()?;
        let (Some(saved), Some(recipe)) = (taken.saved, recipe) else {
            return Err(Error::new(ErrorKind::Preflight(format!(
                "{bake} cannot be taken up without its recipe"
            ))));
        };
        let recipe = Arc::new(recipe);
        let changed = changes(&saved, &recipe).await?;
        if !changed.is_empty() && matches!(taken.way, Way::Builder) {
            return Err(Error::new(ErrorKind::Recipe(format!(
                "{bake} was begun from something else; changed since: {}",
                changed.join(", ")
            )))
            .with_hint(
                "put it back as it was (variables too), or remove what is there with `forno sweep`",
            ));
        }
        let mut prepared = Prepared::restore(saved, recipe)?;
        if !changed.is_empty() {
            prepared.warnings.push(format!(
                "changed since the image was made, which is tested as the recipe says now: {}",
                changed.join(", ")
            ));
        }
        let from = match taken.way {
            Way::Image => bake::From::Image,
            Way::Finish | Way::Builder => bake::From::Builder,
        };
        Box::pin(bake::resume(
            self.cloud().clone(),
            self.settings().clone(),
            self.ladder().clone(),
            self.hub().clone(),
            prepared,
            taken.ledger,
            from,
        ))
        .await
    }

    async fn identity(&self) -> Result<Option<Identity>, Error> {
        match self.gateway().caller_identity().await {
            Ok(identity) => Ok(Some(identity)),
            Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Unsupported) => {
                Ok(None)
            }
            Err(error) => Err(Error::new(ErrorKind::Planning(error))),
        }
    }

    /// Past the point of no return: what a sweep does, told as the end of the bake.
    async fn finish(&self, taken: Resumption, here: PlaceOf) -> Result<BakeReport, Error> {
        let (bake, dir) = (taken.folder.id().clone(), taken.folder.path().to_owned());
        // Nothing that could hold a secret is told any more.
        let masker = Masker::new(std::iter::empty::<(&str, &str)>())?;
        let (journal, past) = Journal::reopen(&dir, bake.clone(), masker, self.hub().clone())
            .map_err(Error::io("go on recording the bake"))?;
        let emitter = journal.emitter();
        if let Some(begun) = taken.folder.announced() {
            emitter.emit(begun);
        }
        emitter.emit(Event::Note {
            severity: Severity::Info,
            message: "taken up past its point of no return".to_owned(),
            hint: None,
        });
        let publishes = taken
            .saved
            .as_ref()
            .is_some_and(|saved| !saved.publish.is_empty());
        let publish = publishes.then(ids::publish);
        for step in [ids::finish()]
            .into_iter()
            .chain(publish)
            .chain([ids::teardown()])
        {
            emitter.emit(Event::StepStarted { step, attempt: 1 });
        }
        let found = self
            .adopt(
                &taken.folder,
                Saga::new(taken.ledger.clone()),
                here,
                &emitter,
            )
            .await?;
        let mut report = BakeReport {
            bake,
            image: taken.folder.id().image().to_owned(),
            folder: dir.clone(),
            image_id: None,
            image_name: None,
            error: None,
            unreleased: Vec::new(),
            kept: false,
            elapsed: journal.elapsed(),
            reason: "taken up again".to_owned(),
        };
        let fold = taken.ledger.fold();
        for thing in found {
            let resource = Resource {
                kind: thing.kind.clone(),
                id: thing.id.clone(),
                region: thing.region.clone(),
            };
            match thing.fate {
                Fate::Finished => report.image_id = Some(thing.id),
                Fate::Removed => emitter.emit(Event::ResourceReleased(resource)),
                Fate::Left { error, command } => {
                    let effect = fold
                        .effects()
                        .iter()
                        .find(|effect| bake::resource(effect, &resource.region) == resource);
                    report.unreleased.extend(effect.map(|effect| Unreleased {
                        effect: effect.clone(),
                        failure: Failure::new("left", error.clone()),
                        command: command.clone(),
                    }));
                    emitter.emit(Event::ResourceStuck {
                        resource,
                        error,
                        command,
                    });
                }
                Fate::Spared { why } => {
                    let gone = ErrorKind::Capture(format!("{} is not there: {why}", thing.id));
                    report.error.get_or_insert(Error::new(gone));
                }
                // Of dry runs, and of whole regions.
                Fate::WouldBeRemoved | Fate::WouldBeFinished | Fate::NotLookedAt { .. } => {}
            }
        }
        if let (Some(id), Some(saved)) = (&report.image_id, &taken.saved) {
            report.image_name = Some(saved.ami_name.clone());
            let image = self.image(id).await;
            let written = image.map(|image| {
                let packages = taken.folder.packages().unwrap_or_default();
                let version = &self.settings().forno_version;
                let copies = bake::copies(&fold);
                let manifest = Manifest::of(saved, &image, copies, packages, past.phases, version);
                folder::write_json(&folder::manifest(&dir), &manifest)
            });
            if let Some(Err(error)) = written {
                report
                    .error
                    .get_or_insert(Error::io("write the manifest")(error));
            }
        }
        journal.close_steps(if report.unreleased.is_empty() && report.error.is_none() {
            Outcome::Ok
        } else {
            Outcome::Failed
        });
        report.elapsed = journal.elapsed();
        emitter.emit(report.finished());
        Ok(report)
    }

    async fn image(&self, id: &str) -> Option<Image> {
        let id = ImageId::new(id).ok()?;
        self.gateway().image(&id).await.ok()?
    }
}
