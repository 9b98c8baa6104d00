//! The entrance: many recipes in, planned or baked, in the order in which they
//! start from one another and side by side where they do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forno_aws::{Gateway, ImageId};
use forno_recipe::{Recipe, bake_order};
use forno_saga::{Ladder, Rung};
use tokio::sync::{Semaphore, watch};

use crate::bake::Cloud;
use crate::journal::{Hub, Subscription};
use crate::plan::{self, Base};
use crate::{Change, Error, ErrorKind, Plan, RunReport, RunResult, Settings, bake};

/// Between two looks at an endpoint on this machine.
const NEARBY: Duration = Duration::from_millis(250);

/// Plans and bakes, against one region of one account.
#[derive(Clone, Debug)]
pub struct Engine {
    cloud: Cloud,
    settings: Settings,
    ladder: Ladder,
    hub: Hub,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Leave alone what would come out as it is: the nightly run.
    pub if_changed: bool,
}

/// What a recipe of the same run made, for those that start from it.
#[derive(Clone, Debug)]
enum Made {
    Image(ImageId),
    /// It stays as it is, or was only tried: the newest finished image is the one.
    Nothing,
    Failed,
}

impl Engine {
    /// `ladder` is climbed by whoever hears signals.
    ///
    /// An endpoint on this machine changes state within milliseconds and
    /// throttles nobody: there, waits look more often.
    pub fn new(gateway: Gateway, mut settings: Settings, ladder: Ladder) -> Self {
        if gateway.endpoint_url().is_some_and(plan::is_loopback) {
            settings.poll = settings.poll.min(NEARBY);
            settings.undo.interval = settings.undo.interval.min(NEARBY);
            settings.undo.settle = settings.undo.settle.min(NEARBY * 8);
        }
        Self {
            cloud: Cloud::new(gateway, settings.poll),
            settings,
            ladder,
            hub: Hub::new(),
        }
    }

    /// All events of all bakes from now on. Ends with [`Engine::close`].
    pub fn subscribe(&self) -> Subscription {
        self.hub.subscribe()
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.cloud.gateway
    }

    pub(crate) fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// No more events: lets renderers come to their end.
    pub fn close(&self) {
        self.hub.close();
    }

    /// What baking these would do, bases first. Changes nothing.
    pub async fn plan(&self, recipes: &[Recipe], options: RunOptions) -> Result<Vec<Plan>, Error> {
        let mut plans: Vec<Plan> = Vec::new();
        for name in ordered(recipes)? {
            let Some(recipe) = recipes.iter().find(|recipe| recipe.name == name) else {
                continue;
            };
            let base = recipe
                .from()
                .and_then(|from| plans.iter().find(|plan| plan.image == from));
            let base = match base {
                Some(base) if !(options.if_changed && base.change.is_none()) => {
                    Base::Later(base.image.clone())
                }
                _ => Base::Find,
            };
            let recipe = Arc::new(recipe.clone());
            let gateway = &self.cloud.gateway;
            match plan::plan(gateway, &self.settings, &recipe, &base).await {
                Ok(plan) => plans.push(plan),
                Err(error) => return Err(error.decoded(gateway).await),
            }
        }
        Ok(plans)
    }

    /// Bakes these, bases first, independent ones side by side. What goes wrong
    /// with one of them is in its result and stops only those that start from it.
    pub async fn bake(
        &self,
        recipes: Vec<Recipe>,
        options: RunOptions,
    ) -> Result<RunReport, Error> {
        let order = ordered(&recipes)?;
        let mut by_name: BTreeMap<String, Recipe> = recipes
            .into_iter()
            .map(|recipe| (recipe.name.clone(), recipe))
            .collect();
        let permits = Arc::new(Semaphore::new(self.settings.parallel.max(1)));
        let mut made: BTreeMap<String, watch::Receiver<Option<Made>>> = BTreeMap::new();
        let mut tasks = Vec::new();
        for name in order {
            let Some(recipe) = by_name.remove(&name) else {
                continue;
            };
            let base = recipe
                .from()
                .and_then(|from| Some((from.to_owned(), made.get(from)?.clone())));
            let (tell, told) = watch::channel(None);
            made.insert(name.clone(), told);
            let engine = self.clone();
            let permits = Arc::clone(&permits);
            let task = tokio::spawn(async move {
                let result = Box::pin(engine.one(recipe, base, &permits, options)).await;
                // Nobody may be waiting for it.
                let _ = tell.send(Some(what_is_made(&result)));
                result
            });
            tasks.push((name, task));
        }
        let mut results = Vec::new();
        for (image, task) in tasks {
            results.push(match task.await {
                Ok(result) => result,
                Err(panic) => RunResult::Refused {
                    image,
                    error: Error::io("see the bake through")(std::io::Error::other(panic))
                        .with_hint("this is a fault of forno; its ledger tells what may be left"),
                },
            });
        }
        Ok(RunReport { results })
    }

    async fn one(
        &self,
        recipe: Recipe,
        base: Option<(String, watch::Receiver<Option<Made>>)>,
        permits: &Semaphore,
        options: RunOptions,
    ) -> RunResult {
        let image = recipe.name.clone();
        let begun = Box::pin(self.begin(Arc::new(recipe), base, permits, options)).await;
        match begun {
            Ok(result) => result,
            Err(error) => RunResult::Refused {
                image,
                error: error.decoded(&self.cloud.gateway).await,
            },
        }
    }

    async fn begin(
        &self,
        recipe: Arc<Recipe>,
        base: Option<(String, watch::Receiver<Option<Made>>)>,
        permits: &Semaphore,
        options: RunOptions,
    ) -> Result<RunResult, Error> {
        let (source, rebuilt) = match base {
            None => (Base::Find, None),
            Some((name, made)) => match made_by(made).await {
                Made::Image(id) => (Base::Baked(id), Some(name)),
                Made::Nothing => (Base::Find, None),
                Made::Failed => return Err(Error::new(ErrorKind::BaseFailed(name))),
            },
        };
        let stopped = || Error::cancelled(self.ladder.reason().unwrap_or_default());
        let _permit = tokio::select! {
            biased;
            () = self.ladder.reached(Rung::Undo) => return Err(stopped()),
            permit = permits.acquire() => permit,
        };
        let mut prepared = tokio::select! {
            biased;
            () = self.ladder.reached(Rung::Undo) => return Err(stopped()),
            prepared = plan::prepare(&self.cloud.gateway, &self.settings, &recipe, &source) => prepared?,
        };
        if let Some(recipe) = rebuilt {
            prepared.change = Change::Base { recipe };
        }
        if options.if_changed
            && let Change::None {
                image_id,
                image_name,
            } = prepared.change
        {
            return Ok(RunResult::Unchanged {
                image: recipe.name.clone(),
                image_id,
                image_name,
            });
        }
        tokio::select! {
            biased;
            () = self.ladder.reached(Rung::Undo) => return Err(stopped()),
            asked = prepared.preflight(&self.cloud.gateway) => drop(asked?),
        }
        bake::bake(
            self.cloud.clone(),
            self.settings.clone(),
            self.ladder.clone(),
            self.hub.clone(),
            prepared,
        )
        .await
        .map(|report| RunResult::Baked(Box::new(report)))
    }
}

/// All names, each after the one that it starts from.
fn ordered(recipes: &[Recipe]) -> Result<Vec<String>, Error> {
    bake_order(recipes)
        .map(|levels| levels.into_iter().flatten().collect())
        .map_err(|circular| Error::new(ErrorKind::Circular(circular.cycle)))
}

/// Waits for the base; one whose task is gone has failed.
async fn made_by(mut made: watch::Receiver<Option<Made>>) -> Made {
    match made.wait_for(Option::is_some).await {
        Ok(made) => made.clone().unwrap_or(Made::Failed),
        Err(_) => Made::Failed,
    }
}

fn what_is_made(result: &RunResult) -> Made {
    match result {
        RunResult::Baked(report) if report.error.is_none() => match &report.image_id {
            Some(id) => ImageId::new(id.as_str()).map_or(Made::Failed, Made::Image),
            None => Made::Nothing,
        },
        RunResult::Baked(_) | RunResult::Refused { .. } => Made::Failed,
        RunResult::Unchanged { .. } => Made::Nothing,
    }
}
