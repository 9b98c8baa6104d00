//! A bake from its first record to its last.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use forno_aws::{Gateway, Image, InstanceId, Kind, SecurityGroupId, SnapshotId, Tags};
use forno_events::{Emitter, Event, Outcome, Severity};
use forno_guest::Package;
use forno_recipe::Connect;
use forno_saga::{Closing, Deadline, EffectId, Ladder, Ledger, Rung, Saga, Unreleased};
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Context, of_wait};
use super::door::Door;
use super::effects::{KEY_PAIR, PlaceOf};
use super::machine::Running;
use super::systems::Cloud;
use super::taken::{self, Taken};
use super::{
    bucket, builder, capture, check, connect, hold, key_pair, machine, profile, prove, provision,
    publish, rescue, seal,
};
use super::{security_group, snapshot, teardown};
use crate::journal::{Hub, Journal, Masker, Past};
use crate::manifest::Manifest;
use crate::plan::{Prepared, ids};
use crate::{BakeReport, Error, ErrorKind, ExitCode, Goal, OnFailure, Settings, folder, names};

/// How long work may take to end by itself once it is cancelled. The first
/// removal must be on its way within a second.
const GRACE: Duration = Duration::from_millis(200);

/// Bakes; an error means that nothing was even begun.
pub(crate) async fn bake(
    cloud: Cloud,
    settings: Settings,
    ladder: Ladder,
    hub: Hub,
    prepared: Prepared,
) -> Result<BakeReport, Error> {
    let dir = settings.bakes().join(prepared.bake.as_str());
    let place = PlaceOf::new(&cloud.gateway, prepared.identity.as_ref());
    let masker = masker(&prepared)?;
    let ledger = Ledger::create(
        &dir,
        &prepared.bake,
        serde_json::to_value(&place).unwrap_or_default(),
    )?;
    folder::write_json(&folder::plan(&dir), &prepared.save())
        .map_err(Error::io("write the plan of the bake"))?;
    let journal = Journal::create(&dir, prepared.bake.clone(), masker, hub)
        .map_err(Error::io("record the bake"))?;
    folder::write_json(&folder::recipe(&dir), &*prepared.recipe)
        .map_err(Error::io("write the resolved recipe"))?;
    let ctx = context(
        cloud,
        settings,
        ladder,
        prepared,
        journal,
        ledger,
        Past::default(),
    );
    tell_start(&ctx);
    Ok(Box::pin(see_through(&ctx, From::Nothing)).await)
}

/// Goes on with a bake of another process; an error means that nothing was changed.
pub(crate) async fn resume(
    cloud: Cloud,
    settings: Settings,
    ladder: Ladder,
    hub: Hub,
    prepared: Prepared,
    ledger: Ledger,
    from: From,
) -> Result<BakeReport, Error> {
    let masker = masker(&prepared)?;
    let (journal, past) = Journal::reopen(ledger.dir(), prepared.bake.clone(), masker, hub)
        .map_err(Error::io("go on recording the bake"))?;
    let ctx = context(cloud, settings, ladder, prepared, journal, ledger, past);
    tell_start(&ctx);
    ctx.note(Severity::Info, "taken up from a process that is gone");
    taken::tell_passed(&ctx, matches!(from, From::Image));
    Ok(Box::pin(see_through(&ctx, from)).await)
}

fn masker(prepared: &Prepared) -> Result<Masker, Error> {
    use secrecy::ExposeSecret as _;
    Ok(Masker::new(
        prepared
            .recipe
            .secrets()
            .map(|(name, secret)| (name, secret.expose_secret())),
    )?)
}

fn context(
    cloud: Cloud,
    settings: Settings,
    ladder: Ladder,
    prepared: Prepared,
    journal: Journal,
    ledger: Ledger,
    past: Past,
) -> Context {
    Context {
        emitter: journal.emitter(),
        cancel: ladder.token().child_token(),
        folder: ledger.dir().to_owned(),
        saga: Saga::new(ledger),
        phases: Mutex::new(past.phases),
        told: past.done,
        machine: Mutex::default(),
        keep: Mutex::default(),
        lost: AtomicUsize::default(),
        gateway: cloud.gateway.clone(),
        cloud,
        settings,
        prepared,
        journal,
        ladder,
    }
}

/// Where the work begins.
#[derive(Debug)]
pub(crate) enum From {
    Nothing,
    /// A builder that another process has left.
    Builder,
    /// An image that another process has made, or may have.
    Image,
}

/// To the end, whatever it is.
async fn see_through(ctx: &Context, from: From) -> BakeReport {
    let _announcer = announce_cancellation(ctx.emitter.clone(), ctx.ladder.clone());
    let total = Deadline::after(ctx.time_left());
    // The point of no return: first in the ledger, so that this bake never
    // undoes its own image again.
    let worked = match surely(work(ctx, from, &total)).await {
        Ok(Some(proven)) => match ctx.saga.keep(proven.effects.clone()).await {
            Ok(()) => Ok(Some(proven)),
            Err(error) => Err(Error::new(error)),
        },
        tried_or_failed => tried_or_failed,
    };
    let (finished, mut error) = match worked {
        Ok(None) => (None, None),
        Ok(Some(proven)) => {
            let ended = match ctx.phase("finish", finish(ctx, &proven.image)).await {
                Ok(()) => publish_phase(ctx, &proven.image).await,
                Err(error) => Err(error),
            };
            (Some(proven), ended.err())
        }
        Err(error) => (None, Some(error)),
    };
    if let Some(error) = error.as_ref().filter(|_| finished.is_none()) {
        rescue::rescue(ctx, error).await;
    }
    let kept = match &error {
        Some(error) if finished.is_none() && ctx.wants_hold(error).await => {
            ctx.close_steps(Outcome::Failed);
            hold::hold(ctx, &total).await
        }
        _ => false,
    };
    ctx.close_steps(Outcome::Cancelled);
    let unreleased = ctx.phase("teardown", teardown::all(ctx)).await;
    key_pair::forget(&ctx.prepared.bake);

    if let Some(proven) = &finished
        && let Err(failed) = write_manifest(ctx, &proven.image, &proven.packages)
    {
        error.get_or_insert(failed);
    }
    let image = finished.map(|proven| proven.image);
    end(ctx, image, error, unreleased, kept).await
}

fn tell_start(ctx: &Context) {
    let prepared = &ctx.prepared;
    let source = match &prepared.source.name {
        Some(name) => format!("{} ({name})", prepared.source.id),
        None => prepared.source.id.to_string(),
    };
    ctx.emitter.emit(Event::BakeStarted {
        image: prepared.recipe.name.clone(),
        region: prepared.region.clone(),
        source,
        digest: prepared.digest.whole.clone(),
        steps: prepared.steps.clone(),
    });
    for warning in &prepared.warnings {
        ctx.note(Severity::Warning, warning.as_str());
    }
}

/// Says so when somebody wants the bake to stop, whatever it is doing.
fn announce_cancellation(emitter: Emitter, ladder: Ladder) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        for (rung, then) in [
            (Rung::Undo, "stopping and removing what was made"),
            (Rung::Hurry, "asking for the removals, waiting for none"),
            (Rung::GiveUp, "leaving everything as it is"),
        ] {
            ladder.reached(rung).await;
            let reason = ladder.reason().unwrap_or_else(|| "asked to".to_owned());
            emitter.emit(Event::CancelRequested {
                reason: format!("{reason}: {then}"),
            });
        }
    }))
}

/// An image that has passed everything.
struct Proven {
    /// Of the image, and of the snapshots that forno has made for it.
    effects: Vec<EffectId>,
    image: Image,
    packages: Vec<Package>,
}

/// A panic is a fault of ours, and no reason to leave a machine running.
async fn surely<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            Err(
                Error::io("see the bake through")(std::io::Error::other("forno itself failed"))
                    .with_hint("this is a fault of forno; please report it with what stands above"),
            )
        })
}

/// All phases up to the proof, as long as nobody stops them; `None`: there was to be no
/// image.
async fn work(ctx: &Context, from: From, total: &Deadline) -> Result<Option<Proven>, Error> {
    let phases = phases(ctx, from);
    tokio::pin!(phases);
    let interrupted = || {
        Error::cancelled(
            ctx.ladder
                .reason()
                .unwrap_or_else(|| "asked to stop".to_owned()),
        )
    };
    let stopped = tokio::select! {
        biased;
        // What fails because everything stops has not failed.
        result = &mut phases => return match result {
            Err(_) if ctx.ladder.rung() > Rung::Running => Err(interrupted()),
            result => result,
        },
        () = ctx.ladder.reached(Rung::Undo) => interrupted(),
        () = total.reached() => Error::new(ErrorKind::OutOfTime {
            what: "the bake".to_owned(),
            limit: ctx.prepared.recipe.builder.timeouts.total.get(),
            exit: ExitCode::StepFailed,
        })
        .with_hint("raise builder.timeouts.total, or find out what takes so long with `forno show`"),
    };
    ctx.cancel.cancel();
    match tokio::time::timeout(GRACE, phases).await {
        Ok(Ok(proven)) => Ok(proven),
        _ => Err(stopped),
    }
}

async fn phases(ctx: &Context, from: From) -> Result<Option<Proven>, Error> {
    let (built, groups) = match from {
        From::Nothing => begin(ctx).await?,
        From::Builder => go_on(ctx).await?,
        From::Image => (None, taken::groups(ctx).await?),
    };
    if ctx.prepared.goal == Goal::Trial {
        return Ok(None);
    }
    let packages = match &built {
        Some(built) => built.packages.clone(),
        None => check::listed(ctx).unwrap_or_default(),
    };
    let machine = match built {
        Some(built) => Some((built.effect, built.id)),
        None => taken::captured_from(ctx),
    };
    let (effects, image) = ctx
        .phase(
            "capture",
            capture::capture(ctx, machine.as_ref().map(|(_, id)| id)),
        )
        .await?;
    // The builder has done its work; its end delays nobody.
    let (proven, ()) = tokio::join!(
        ctx.phase("prove", prove::prove(ctx, &image, &groups)),
        async {
            if let Some((effect, _)) = &machine {
                teardown::begin(ctx, effect).await;
            }
        },
    );
    proven?;
    Ok(Some(Proven {
        effects,
        image,
        packages,
    }))
}

/// Key, network and builder, made anew.
async fn begin(ctx: &Context) -> Result<(Option<Built>, Vec<SecurityGroupId>), Error> {
    let step = ids::key_pair();
    let door = ctx
        .phase("key", async {
            let make = Door::make(ctx, KEY_PAIR);
            match ctx.prepared.connect {
                Connect::Ssm => make.await,
                Connect::Ssh | Connect::SshOverSsm => ctx.step(&step, make).await,
            }
        })
        .await?;
    if let Some(key) = door.key() {
        key_pair::keep(ctx, key);
    }
    let groups = ctx
        .phase("network", async {
            let groups = groups(ctx).await?;
            bucket::prepare(ctx).await?;
            profile::prepare(ctx).await?;
            Ok::<_, Error>(groups)
        })
        .await?;
    let built = build(ctx, &door, &groups, None).await?;
    Ok((Some(built), groups))
}

/// Key, network and builder of another process.
async fn go_on(ctx: &Context) -> Result<(Option<Built>, Vec<SecurityGroupId>), Error> {
    let taken = ctx.phase("builder", taken::builder(ctx)).await?;
    let groups = taken::groups(ctx).await?;
    let built = match taken {
        Taken::Working(running, door) => build(ctx, &door, &groups, Some(*running)).await?,
        Taken::Sealed { effect, id } => {
            stop(ctx, &id).await?;
            Built {
                effect,
                id,
                packages: check::listed(ctx).unwrap_or_default(),
            }
        }
    };
    Ok((Some(built), groups))
}

/// A builder that has done its work, and stands still where it becomes an image.
struct Built {
    effect: EffectId,
    id: InstanceId,
    packages: Vec<Package>,
}

/// To a builder that has done its work, again from the start when EC2 takes one away.
async fn build(
    ctx: &Context,
    door: &Door,
    groups: &[SecurityGroupId],
    mut there: Option<Running>,
) -> Result<Built, Error> {
    loop {
        let running = match there.take() {
            Some(running) => running,
            None => {
                ctx.phase("builder", builder::start(ctx, door, groups))
                    .await?
            }
        };
        let (effect, id) = (running.effect.clone(), running.id.clone());
        match work_on(ctx, running, door).await {
            Ok(packages) => {
                return Ok(Built {
                    effect,
                    id,
                    packages,
                });
            }
            Err(error) => {
                let places = &ctx.prepared.places;
                machine::lost(ctx, builder::ROLE, places, &effect, error).await?;
            }
        }
    }
}

/// Everything that is done on the builder.
async fn work_on(ctx: &Context, running: Running, door: &Door) -> Result<Vec<Package>, Error> {
    let id = running.id.clone();
    let builder = ctx
        .phase(
            "connect",
            connect::connect(ctx, &ids::connect(), running, door),
        )
        .await?;
    ctx.phase("provision", provision::provision(ctx, &builder))
        .await?;
    snapshot::begin_early(ctx, &id).await;
    let packages = ctx
        .phase("check", async {
            check::check(ctx, &builder).await?;
            check::inventory(ctx, &builder).await
        })
        .await?;
    ctx.phase("seal", seal::seal(ctx, &builder, door)).await?;
    drop(builder);
    stop(ctx, &id).await?;
    Ok(packages)
}

/// A builder that becomes no image is terminated as it is.
async fn stop(ctx: &Context, id: &InstanceId) -> Result<(), Error> {
    match ctx.prepared.goal {
        Goal::Image => ctx.phase("capture", capture::stop(ctx, id)).await,
        Goal::Trial => Ok(()),
    }
}

async fn groups(ctx: &Context) -> Result<Vec<SecurityGroupId>, Error> {
    if !ctx.prepared.ground.groups.is_empty() {
        return Ok(ctx.prepared.ground.groups.clone());
    }
    let step = ids::security_group();
    let id = ctx.step(&step, security_group::create(ctx, &step)).await?;
    Ok(vec![id])
}

/// The mark by which everybody else knows a finished image.
async fn finish(ctx: &Context, image: &Image) -> Result<(), Error> {
    let step = ids::finish();
    ctx.step(&step, async {
        let limit = Duration::from_mins(2);
        let failed = |text| {
            ErrorKind::Capture(format!(
                "{} is made and proven, but cannot be marked as finished: {text}",
                image.id
            ))
        };
        // Not cancelled by anything but impatience: half of this is worse than
        // either end.
        let wait = ctx
            .wait(&step, "the image to be marked", limit)
            .of(&image.id)
            .cancelled_by(tokio_util::sync::CancellationToken::new());
        let marking = wait.while_refused(
            |error| {
                matches!(error.kind(), Kind::NotFound | Kind::Busy)
                    || error.kind().is_transient()
                    || error.outcome() == forno_aws::Outcome::Unknown
            },
            || mark_finished(&ctx.gateway, image),
        );
        tokio::select! {
            marked = marking => marked.map_err(|error| of_wait(&error, failed)),
            () = ctx.ladder.reached(Rung::GiveUp) => Err(Error::new(failed("given up".to_owned()))),
        }
    })
    .await
}

async fn publish_phase(ctx: &Context, image: &Image) -> Result<(), Error> {
    if ctx.prepared.recipe.publish.is_empty() {
        return Ok(());
    }
    ctx.phase("publish", publish::publish(ctx, image)).await
}

/// The snapshots too: they stay when somebody deregisters the image, and a sweep
/// must know them from those of an image that came to nothing.
pub(crate) async fn mark_finished(
    gateway: &Gateway,
    image: &Image,
) -> Result<(), forno_aws::Error> {
    let mut marked: Vec<&str> = image.snapshots().map(SnapshotId::as_str).collect();
    marked.push(image.id.as_str());
    let mark = Tags::new().with(names::FINISHED, Timestamp::now().to_string());
    gateway.create_tags(&marked, &mark).await
}

fn write_manifest(ctx: &Context, image: &Image, packages: &[Package]) -> Result<(), Error> {
    let manifest = Manifest::of(
        &ctx.prepared.save(),
        image,
        super::publish::copies(&ctx.saga.ledger().fold()),
        packages.to_vec(),
        ctx.phase_times(),
        &ctx.settings.forno_version,
    );
    folder::write_json(&folder::manifest(&ctx.folder), &manifest)
        .map_err(Error::io("write the manifest"))
}

async fn end(
    ctx: &Context,
    image: Option<Image>,
    error: Option<Error>,
    unreleased: Vec<Unreleased>,
    kept: bool,
) -> BakeReport {
    let closing = match (unreleased.is_empty(), &image, &error) {
        // Not published: somebody else will go on.
        (true, Some(_), Some(error)) if is_unpublished(error) => None,
        // Something is left, or the image is perhaps not marked as finished: whoever
        // takes it up, or a sweep, makes up for that.
        (false, _, _) | (true, Some(_), Some(_)) => Some(Closing::Leaking),
        (true, Some(_), None) => Some(Closing::Finished),
        (true, None, _) => Some(Closing::Undone),
    };
    if let Some(closing) = closing
        && let Err(error) = ctx.saga.close(closing).await
    {
        ctx.note(
            Severity::Warning,
            format!("the end of the bake is not recorded: {error}"),
        );
    }
    let error = match error {
        Some(error) => Some(error.decoded(&ctx.gateway).await),
        None => None,
    };
    let report = BakeReport {
        bake: ctx.prepared.bake.clone(),
        image: ctx.prepared.recipe.name.clone(),
        folder: ctx.folder.clone(),
        image_id: image.as_ref().map(|image| image.id.to_string()),
        image_name: image.is_some().then(|| ctx.prepared.ami_name.clone()),
        error: error.map(|error| error.masked(&ctx.journal)),
        unreleased,
        kept,
        elapsed: ctx.journal.elapsed(),
        reason: ctx.prepared.change.reason(),
    };
    ctx.emitter.emit(report.finished());
    report
}

/// Whether the image is finished, and is not yet where or whose it shall be.
fn is_unpublished(error: &Error) -> bool {
    matches!(error.exit_code(), ExitCode::Publish | ExitCode::Interrupted)
}

impl Context {
    /// Whether somebody wants to look at the machine of this failure.
    async fn wants_hold(&self, error: &Error) -> bool {
        if self.ladder.rung() > Rung::Running || self.machine().is_none() {
            return false;
        }
        match self.settings.on_failure {
            OnFailure::Teardown => false,
            OnFailure::Keep => true,
            OnFailure::Ask => self.ask_to_keep(error).await,
        }
    }
}
