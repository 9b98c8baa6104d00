//! A bake from its first record to its last.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use forno_aws::{Gateway, Image, InstanceId, Kind, SecurityGroupId, SnapshotId, Tags};
use forno_events::{Emitter, Event, Outcome, Severity};
use forno_guest::Package;
use forno_saga::{Closing, Deadline, EffectId, Ladder, Ledger, Rung, Saga, Unreleased};
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::context::{Context, of_wait};
use super::effects::{KEY_PAIR, PlaceOf};
use super::key_pair::Key;
use super::machine::Running;
use super::{builder, capture, check, connect, hold, key_pair, machine, prove, provision, seal};
use super::{security_group, teardown};
use crate::journal::{Hub, Journal, Masker};
use crate::manifest::{MANIFEST_VERSION, Manifest};
use crate::plan::{Prepared, ids};
use crate::{BakeReport, Error, ErrorKind, ExitCode, OnFailure, Settings, folder, names};

/// How long work may take to end by itself once it is cancelled. The first
/// removal must be on its way within a second.
const GRACE: Duration = Duration::from_millis(200);

/// Bakes; an error means that nothing was even begun.
pub(crate) async fn bake(
    gateway: Gateway,
    settings: Settings,
    ladder: Ladder,
    hub: Hub,
    prepared: Prepared,
) -> Result<BakeReport, Error> {
    let ctx = begin(gateway, settings, ladder, hub, prepared)?;
    let _announcer = announce_cancellation(ctx.emitter.clone(), ctx.ladder.clone());
    let started = Instant::now();
    let total = Deadline::after(ctx.prepared.recipe.builder.timeouts.total.get());
    tell_start(&ctx);

    // The point of no return: first in the ledger, so that this bake never
    // undoes its own image again.
    let worked = match surely(work(&ctx, &total)).await {
        Ok(proven) => match ctx.saga.keep(vec![proven.effect.clone()]).await {
            Ok(()) => Ok(proven),
            Err(error) => Err(Error::new(error)),
        },
        Err(error) => Err(error),
    };
    let (finished, mut error) = match worked {
        Ok(proven) => {
            let marked = ctx.phase("finish", finish(&ctx, &proven.image)).await;
            (Some(proven), marked.err())
        }
        Err(error) => (None, Some(error)),
    };
    let kept = match &error {
        Some(error) if finished.is_none() && ctx.wants_hold(error).await => {
            ctx.close_steps(Outcome::Failed);
            hold::hold(&ctx, &total).await
        }
        _ => false,
    };
    ctx.close_steps(Outcome::Cancelled);
    let unreleased = ctx.phase("teardown", teardown::all(&ctx)).await;

    if let Some(proven) = &finished
        && let Err(failed) = write_manifest(&ctx, &proven.image, &proven.packages)
    {
        error.get_or_insert(failed);
    }
    Ok(end(
        &ctx,
        started,
        finished.map(|proven| proven.image),
        error,
        unreleased,
        kept,
    )
    .await)
}

fn begin(
    gateway: Gateway,
    settings: Settings,
    ladder: Ladder,
    hub: Hub,
    prepared: Prepared,
) -> Result<Context, Error> {
    use secrecy::ExposeSecret as _;
    let masker = Masker::new(
        prepared
            .recipe
            .secrets()
            .map(|(name, secret)| (name, secret.expose_secret())),
    )?;
    let dir = settings.bakes().join(prepared.bake.as_str());
    let place = PlaceOf::new(&gateway, prepared.identity.as_ref());
    let ledger = Ledger::create(
        &dir,
        &prepared.bake,
        serde_json::to_value(&place).unwrap_or_default(),
    )?;
    let journal = Journal::create(&dir, prepared.bake.clone(), masker, hub)
        .map_err(Error::io("record the bake"))?;
    folder::write_json(&folder::recipe(&dir), &*prepared.recipe)
        .map_err(Error::io("write the resolved recipe"))?;
    Ok(Context {
        emitter: journal.emitter(),
        cancel: ladder.token().child_token(),
        saga: Saga::new(ledger),
        folder: dir,
        phases: Mutex::default(),
        machine: Mutex::default(),
        keep: Mutex::default(),
        lost: AtomicUsize::default(),
        gateway,
        settings,
        prepared,
        journal,
        ladder,
    })
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
    effect: EffectId,
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

/// All phases up to the proof, as long as nobody stops them.
async fn work(ctx: &Context, total: &Deadline) -> Result<Proven, Error> {
    let phases = phases(ctx);
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
            limit: total.limit(),
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

async fn phases(ctx: &Context) -> Result<Proven, Error> {
    let step = ids::key_pair();
    let key = ctx
        .phase("key", ctx.step(&step, key_pair::import(ctx, KEY_PAIR)))
        .await?;
    let groups = ctx.phase("network", groups(ctx)).await?;
    let built = build(ctx, &key, &groups).await?;
    let (effect, image) = ctx
        .phase("capture", capture::capture(ctx, &built.id))
        .await?;
    // The builder has done its work; its end delays nobody.
    let (proven, ()) = tokio::join!(
        ctx.phase("prove", prove::prove(ctx, &image, &groups)),
        teardown::begin(ctx, &built.effect),
    );
    proven?;
    Ok(Proven {
        effect,
        image,
        packages: built.packages,
    })
}

/// A builder that has done its work and stands still.
struct Built {
    effect: EffectId,
    id: InstanceId,
    packages: Vec<Package>,
}

/// From nothing to a stopped builder, again from the start when EC2 takes one away.
async fn build(ctx: &Context, key: &Key, groups: &[SecurityGroupId]) -> Result<Built, Error> {
    loop {
        let running = ctx
            .phase("builder", builder::start(ctx, key, groups))
            .await?;
        let (effect, id) = (running.effect.clone(), running.id.clone());
        match work_on(ctx, running, key).await {
            Ok(packages) => {
                return Ok(Built {
                    effect,
                    id,
                    packages,
                });
            }
            Err(error) => machine::lost(ctx, &effect, error).await?,
        }
    }
}

/// Everything that is done on the builder.
async fn work_on(ctx: &Context, running: Running, key: &Key) -> Result<Vec<Package>, Error> {
    let id = running.id.clone();
    let builder = ctx
        .phase(
            "connect",
            connect::connect(ctx, &ids::connect(), running, key),
        )
        .await?;
    ctx.phase("provision", provision::provision(ctx, &builder))
        .await?;
    let packages = ctx
        .phase("check", async {
            check::check(ctx, &builder).await?;
            check::inventory(ctx, &builder).await
        })
        .await?;
    ctx.phase("seal", seal::seal(ctx, &builder, key)).await?;
    drop(builder);
    ctx.phase("capture", capture::stop(ctx, &id)).await?;
    Ok(packages)
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
    let prepared = &ctx.prepared;
    let manifest = Manifest {
        v: MANIFEST_VERSION,
        bake: prepared.bake.clone(),
        image: prepared.recipe.name.clone(),
        image_id: image.id.to_string(),
        image_name: prepared.ami_name.clone(),
        snapshots: image.snapshots().map(ToString::to_string).collect(),
        region: prepared.region.clone(),
        account: prepared.account(),
        source_id: prepared.source.id.to_string(),
        source_name: prepared.source.name.clone(),
        digest: prepared.digest.clone(),
        forno_version: ctx.settings.forno_version.clone(),
        started: prepared.started,
        finished: Timestamp::now(),
        phases: ctx.phase_times(),
        packages: packages.to_vec(),
        tags: prepared
            .image_tags
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    };
    folder::write_json(&folder::manifest(&ctx.folder), &manifest)
        .map_err(Error::io("write the manifest"))
}

async fn end(
    ctx: &Context,
    started: Instant,
    image: Option<Image>,
    error: Option<Error>,
    unreleased: Vec<Unreleased>,
    kept: bool,
) -> BakeReport {
    let closing = match (unreleased.is_empty(), &image) {
        (false, _) => Closing::Leaking,
        // Perhaps not marked as finished, which a sweep makes up for.
        (true, Some(_)) if error.is_some() => Closing::Leaking,
        (true, Some(_)) => Closing::Finished,
        (true, None) => Closing::Undone,
    };
    if let Err(error) = ctx.saga.close(closing).await {
        ctx.note(
            Severity::Warning,
            format!("the end of the bake is not recorded: {error}"),
        );
    }
    let report = BakeReport {
        bake: ctx.prepared.bake.clone(),
        image: ctx.prepared.recipe.name.clone(),
        folder: ctx.folder.clone(),
        image_id: image.as_ref().map(|image| image.id.to_string()),
        image_name: image.is_some().then(|| ctx.prepared.ami_name.clone()),
        error: error.map(|error| error.masked(&ctx.journal)),
        unreleased,
        kept,
        elapsed: started.elapsed(),
        reason: ctx.prepared.change.reason(),
    };
    ctx.emitter.emit(Event::BakeFinished {
        outcome: match &report.error {
            None => Outcome::Ok,
            Some(error) if error.exit_code() == ExitCode::Interrupted => Outcome::Cancelled,
            Some(_) => Outcome::Failed,
        },
        exit_code: report.exit_code().code(),
        image_id: report.image_id.clone(),
        image_name: report.image_name.clone(),
        error: report.error.as_ref().map(Error::full),
        hint: report.error.as_ref().and_then(Error::hint),
        leaks: u32::try_from(report.unreleased.len()).unwrap_or(u32::MAX),
    });
    report
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
