//! A bake and a sweep that can be killed: each runs in a runtime of its own on a
//! thread of its own, and that runtime ends with everything in it when the
//! endpoint holds the call at which it shall die. Of what a process leaves behind
//! when it is killed only the kernel's part is missing here; `forno` killed for
//! real is tested where the binary is.

use std::time::Duration;

use forno_aws::Gateway;
use forno_bake::{Bakes, Engine, ExitCode, Ladder, Resumption, RunOptions, SweepOptions};
use forno_recipe::Recipe;
use forno_saga::{Effect, Phase};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::runtime::Builder;

use super::Holdings;
use crate::rig::{Rig, only};

/// Far beyond what any of this takes.
const HANGS: Duration = Duration::from_mins(3);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By this entry of the plan.
    Killed(usize),
    With(ExitCode, String),
}

impl Ended {
    pub(super) fn is(&self, code: ExitCode) -> bool {
        matches!(self, Self::With(ended, _) if *ended == code)
    }
}

/// Bakes; dies when one of the endpoint's `deadly` faults has struck.
pub(super) fn bake(rig: &Rig, recipe: Recipe, deadly: &[usize]) -> Ended {
    mortal(rig, deadly, move |engine| async move {
        match engine.bake(vec![recipe], RunOptions::default()).await {
            Ok(report) if report.results.len() == 1 => {
                let code = report.exit_code();
                let error = match &report.results[0] {
                    forno_bake::RunResult::Baked(report) => {
                        report.error.as_ref().map(forno_bake::Error::full)
                    }
                    forno_bake::RunResult::Refused { error, .. } => Some(error.full()),
                    forno_bake::RunResult::Unchanged { .. } => None,
                };
                Ended::With(code, error.unwrap_or_default())
            }
            Ok(report) => panic!("{:?}", only(report)),
            Err(error) => Ended::With(error.exit_code(), error.full()),
        }
    })
}

/// Sweeps once.
pub(super) fn sweep(rig: &Rig, deadly: &[usize]) -> Ended {
    mortal(rig, deadly, |engine| async move {
        match engine.sweep(SweepOptions::default(), &|_| {}).await {
            Ok(report) => Ended::With(report.exit_code(), format!("{:?}", report.found)),
            Err(error) => Ended::With(error.exit_code(), error.full()),
        }
    })
}

/// Takes up the bake whose process is gone, once. A bake that left no folder, or is
/// over, has nothing to take up.
pub(super) fn resume(rig: &Rig, recipe: Recipe) -> Ended {
    mortal(rig, &[], |engine| async move {
        let folder = Bakes::under(&rig.settings.home).list().unwrap().pop();
        let taken = match folder.as_ref().map(Resumption::open) {
            None => return Ended::With(ExitCode::NothingToDo, "no bake".to_owned()),
            Some(Err(error)) => return Ended::With(error.exit_code(), error.full()),
            Some(Ok(taken)) => taken,
        };
        match engine.resume(taken, Some(recipe)).await {
            Ok(report) => Ended::With(report.exit_code(), format!("{:?}", report.error)),
            Err(error) => Ended::With(error.exit_code(), error.full()),
        }
    })
}

fn mortal<F>(rig: &Rig, deadly: &[usize], life: impl FnOnce(Engine) -> F) -> Ended
where
    F: Future<Output = Ended>,
{
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (access, settings) = (rig.access(), rig.settings.clone());
    let ended = runtime.block_on(async {
        let gateway = Gateway::connect(access).await.unwrap();
        let engine = Engine::new(gateway, settings, Ladder::new());
        tokio::select! {
            biased;
            entry = struck(rig, deadly) => Ended::Killed(entry),
            ended = tokio::time::timeout(HANGS, life(engine)) => ended.expect("it hangs"),
        }
    });
    // Nothing of it gets to run again, and nobody waits for it.
    runtime.shutdown_background();
    if matches!(ended, Ended::Killed(_)) {
        settled(rig);
    }
    ended
}

/// Returns, with its number, when one of these entries of the plan has struck.
async fn struck(rig: &Rig, deadly: &[usize]) -> usize {
    let mut waiting: FuturesUnordered<_> = deadly
        .iter()
        .map(|entry| async move {
            rig.endpoint().fault_struck(*entry, 1).await;
            *entry
        })
        .collect();
    match waiting.next().await {
        Some(entry) => entry,
        None => std::future::pending().await,
    }
}

/// The kernel gives back a lock when its process dies; here a write that was
/// under way may hold it for a moment longer.
fn settled(rig: &Rig) {
    let alive = || {
        let bakes = Bakes::under(&rig.settings.home).list().unwrap();
        bakes.iter().any(|bake| bake.is_alive().unwrap())
    };
    while alive() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// What must be there after everything: the image where the bake was past its
/// point of no return, with the copies that are kept, else nothing. `Err` tells of a
/// leak or of a loss.
pub(super) fn judge(rig: &Rig) -> Result<bool, String> {
    let held = Holdings::of(rig);
    let bakes = Bakes::under(&rig.settings.home).list().unwrap();
    let past_return = bakes.iter().any(|bake| {
        bake.ledger()
            .is_ok_and(|history| history.fold.is_past_return())
    });
    let copies = bakes
        .iter()
        .filter_map(|bake| bake.ledger().ok())
        .map(|history| {
            let effects = history.fold.effects().iter();
            let kept = |e: &&Effect| e.kind == "image-copy" && e.phase == Phase::Kept;
            effects.filter(kept).count()
        })
        .sum::<usize>();
    match past_return {
        true if held.are_images(1 + copies) => Ok(true),
        false if held.is_nothing() => Ok(false),
        true => Err(format!("past the point of no return there is {held}")),
        false => Err(format!("left behind: {held}")),
    }
}
