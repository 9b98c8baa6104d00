//! A bake whose process is gone goes on in another, wherever it was cut off: its image
//! is finished exactly once, or nothing of it stays.

use std::time::Duration;

use forno_aws::TagMatch;
use forno_bake::{
    BakeFolder, BakeReport, Bakes, ErrorKind, ExitCode, Outlook, Resumption, RunOptions,
};
use forno_events::{Envelope, Event, Outcome};
use forno_link::{Identity, keyring};
use forno_local::{Fault, FaultPlan, Moment};
use forno_recipe::Recipe;
use forno_saga::{Closing, Phase};

use crate::rig::{Rig, in_time, rest, story, until};

const RECIPE: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[step]]
name = "say more"
shell = { run = "echo again" }
[[check]]
command = "true"
[[test]]
run = "true"
"#;

const PUBLISH: &str = r#"
[publish]
deprecate_in = "30d"
"#;

/// Whether keys can be kept for another process here.
fn has_keyring() -> bool {
    let name = format!("forno-test:{}:can", std::process::id());
    let kept = keyring::deposit(&name, &Identity::generate(""), Duration::from_mins(1))
        .and_then(|()| keyring::forget(&name));
    if let Err(error) = &kept {
        forno_testing::skip(error);
    }
    kept.is_ok()
}

/// Bakes in a process that is gone as soon as such an event was told.
async fn killed(
    rig: &Rig,
    recipe: &Recipe,
    at: impl Fn(&Event) -> bool + Send + 'static,
) -> BakeFolder {
    killed_once(rig, false, recipe, at).await
}

async fn killed_once(
    rig: &Rig,
    held: bool,
    recipe: &Recipe,
    at: impl Fn(&Event) -> bool + Send + 'static,
) -> BakeFolder {
    let recipes = vec![recipe.clone()];
    rig.until_killed(held, at, async move |engine| {
        // Nobody hears how it ends.
        let _ = engine.bake(recipes, RunOptions::default()).await;
    })
    .await
}

async fn resumed(rig: &Rig, folder: &BakeFolder, recipe: &Recipe) -> (BakeReport, Vec<Envelope>) {
    let engine = rig.engine();
    let events = engine.subscribe();
    let taken = Resumption::open(folder).unwrap();
    let resuming = Box::pin(engine.resume(taken, Some(recipe.clone())));
    let report = in_time(resuming).await;
    engine.close();
    (report.unwrap(), rest(events).await)
}

fn begins(step: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StepStarted { step: begun, .. } if begun.as_str() == step)
}

/// What both processes recorded is one story without a gap, and all of it ends.
fn is_whole(folder: &BakeFolder, why: &str) {
    let recorded = folder.events().unwrap();
    for (event, index) in recorded.iter().zip(0..) {
        assert_eq!(event.index, index, "{why}");
    }
    assert!(recorded.is_sorted_by_key(|event| event.elapsed_ms), "{why}");
    for event in &recorded {
        if let Event::StepStarted { step, .. } = &event.body {
            let ends = recorded[usize::try_from(event.index).unwrap()..]
                .iter()
                .any(|later| {
                    matches!(&later.body, Event::StepFinished { step: of, .. } if of == step)
                });
            assert!(ends, "{step} has no end: {why}");
        }
    }
    let ends = recorded
        .iter()
        .filter(|event| matches!(event.body, Event::BakeFinished { .. }))
        .count();
    assert_eq!(ends, 1, "{why}");
    assert!(
        !keyring::holds(&format!("forno:{}:builder", folder.id())),
        "{why}"
    );
}

async fn images(rig: &Rig) -> usize {
    let ours = [TagMatch::has("forno:bake")];
    rig.gateway.images_tagged(&ours).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_whichever_step_it_is_killed_it_goes_on() {
    if !has_keyring() {
        return;
    }
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", &format!("{RECIPE}{PUBLISH}"));
    for (finished, at) in [
        "connect",
        "step-01",
        "step-02",
        "check-01",
        "inventory",
        "seal",
        "stop",
        "image",
        "test-machine",
        "test-connect",
        "test-01",
        "finish",
        "publish",
        "teardown",
    ]
    .into_iter()
    .enumerate()
    {
        let folder = killed(&rig, &recipe, begins(at)).await;
        assert_eq!(folder.outlook(), Some(Outlook::Resume), "killed at {at}");
        let (report, told) = resumed(&rig, &folder, &recipe).await;
        let why = format!("killed at {at}: {:?}\n{}", report.error, story(&told));
        assert_eq!(report.exit_code(), ExitCode::Done, "{why}");
        assert_eq!(images(&rig).await, finished + 1, "{why}");
        let left = rig.left().await;
        assert_eq!(left.len(), 2 * (finished + 1), "{left:?}, {why}");
        assert!(left.iter().all(|one| one.starts_with("finished ")), "{why}");
        is_whole(&folder, &why);
        let manifest = folder.manifest().unwrap().expect(&why);
        assert_eq!(Some(manifest.image_id), report.image_id, "{why}");
        let phases: Vec<&str> = manifest.phases.iter().map(|time| &*time.phase).collect();
        for phase in [
            "key",
            "builder",
            "connect",
            "provision",
            "seal",
            "capture",
            "prove",
        ] {
            assert!(phases.contains(&phase), "no {phase} in {phases:?}, {why}");
        }
        assert_eq!(folder.outlook(), None, "{why}");
        let over = Resumption::open(&folder).unwrap_err();
        assert_eq!(over.exit_code(), ExitCode::NothingToDo, "{over}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_passed_is_not_done_again() {
    if !has_keyring() {
        return;
    }
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let folder = killed(&rig, &recipe, begins("check-01")).await;
    let (report, told) = resumed(&rig, &folder, &recipe).await;
    assert!(report.error.is_none(), "{report:?}");
    // The removals of the end happen side by side.
    let told = story(&told);
    let (course, end) = told.split_once("teardown starts (1)\n").unwrap();
    let mut end: Vec<&str> = end.lines().collect();
    end.sort_unstable();
    insta::assert_snapshot!(format!("{course}{}", end.join("\n")));
    let said = |line: &str| {
        let recorded = folder.events().unwrap();
        let output = |event: &&Envelope| matches!(&event.body, Event::Output { line: told, .. } if told == line);
        recorded.iter().filter(output).count()
    };
    assert_eq!((said("hello"), said("again")), (1, 1));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_has_a_builder_there_is_nothing_to_take_up() {
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    for at in ["key-pair", "security-group"] {
        let folder = killed(&rig, &recipe, begins(at)).await;
        let (report, told) = resumed(&rig, &folder, &recipe).await;
        let why = format!("killed at {at}: {:?}\n{}", report.error, story(&told));
        assert_eq!(report.exit_code(), ExitCode::NoBuilder, "{why}");
        assert_eq!(rig.left().await, [""; 0], "{why}");
        is_whole(&folder, &why);
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_from_something_else_is_left_alone() {
    if !has_keyring() {
        return;
    }
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let folder = killed(&rig, &recipe, begins("step-01")).await;
    let left = rig.left().await;
    let changed = rig.recipe("one", &RECIPE.replace("hello", "goodbye"));
    let taken = Resumption::open(&folder).unwrap();
    let error = rig.engine().resume(taken, Some(changed)).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::RecipeInvalid);
    assert!(
        error.to_string().contains("changed since: recipe"),
        "{error}"
    );
    assert_eq!(rig.left().await, left);
    // As it was, it can still be taken up.
    let (report, _) = resumed(&rig, &folder, &recipe).await;
    assert!(report.error.is_none(), "{report:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_made_is_tested_as_the_recipe_says_now() {
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let folder = killed(&rig, &recipe, begins("test-machine")).await;
    let changed = rig.recipe("one", &RECIPE.replace("run = \"true\"", "run = \"false\""));
    let (report, told) = resumed(&rig, &folder, &changed).await;
    assert_eq!(report.exit_code(), ExitCode::CheckFailed, "{report:?}");
    assert!(story(&told).contains("changed since the image was made"));
    assert_eq!(rig.left().await, [""; 0]);
    is_whole(&folder, "a failed test");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_bake_is_left_alone() {
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let baking = tokio::spawn({
        let engine = engine.clone();
        async move { engine.bake(vec![recipe], RunOptions::default()).await }
    });
    let bake = until(&mut events, begins("step-01")).await.bake;
    let folder = Bakes::under(&rig.settings.home).folder(&bake);
    let error = Resumption::open(&folder).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Alive(_)), "{error}");
    assert_eq!(folder.outlook(), None);
    let report = in_time(baking).await.unwrap().unwrap();
    assert_eq!(report.exit_code(), ExitCode::Done);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_builder_or_its_key_it_is_taken_down_and_says_why() {
    if !has_keyring() {
        return;
    }
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    for (lost, why) in [
        ("builder", "Client.UserInitiatedShutdown"),
        ("key", "keyring"),
    ] {
        let folder = killed(&rig, &recipe, begins("step-02")).await;
        if lost == "builder" {
            let found = rig
                .gateway
                .instances_tagged(&[TagMatch::is("forno:bake", folder.id().as_str())])
                .await
                .unwrap();
            rig.gateway
                .terminate_instance(&found[0].id, true)
                .await
                .unwrap();
        } else {
            keyring::forget(&format!("forno:{}:builder", folder.id())).unwrap();
            assert_eq!(folder.outlook(), Some(Outlook::Sweep));
        }
        let (report, told) = resumed(&rig, &folder, &recipe).await;
        let error = report.error.as_ref().unwrap().to_string();
        assert!(
            error.contains("cannot be taken up") && error.contains(why),
            "{error}"
        );
        assert_eq!(report.exit_code(), ExitCode::NoBuilder, "{}", story(&told));
        assert_eq!(rig.left().await, [""; 0]);
        is_whole(&folder, lost);
        let fold = folder.ledger().unwrap().fold;
        assert_eq!(fold.closing(), Some(Closing::Undone));
    }
    rig.end().await;
}

/// The answer to CreateImage never came: the image is there all the same, and a second
/// must not be made.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_an_answer_is_found_again() {
    let rig = Rig::start().await;
    let held = Fault::of("CreateImage").hang(Moment::After);
    rig.endpoint().set_faults(FaultPlan::of([held]));
    let recipe = rig.recipe("one", RECIPE);
    let folder = killed_once(&rig, true, &recipe, begins("image")).await;
    let phase = |folder: &BakeFolder| {
        let fold = folder.ledger().unwrap().fold;
        let image = fold.effects().iter().find(|effect| effect.kind == "image");
        image.map(|image| image.phase)
    };
    assert_eq!(phase(&folder), Some(Phase::Intended));
    let (report, told) = resumed(&rig, &folder, &recipe).await;
    assert!(report.error.is_none(), "{report:?}\n{}", story(&told));
    assert_eq!(images(&rig).await, 1);
    assert_eq!(phase(&folder), Some(Phase::Kept));
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

/// Killed again and again, always while the same step is taken up.
#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_killed_more_than_once() {
    if !has_keyring() {
        return;
    }
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let folder = killed(&rig, &recipe, begins("step-02")).await;
    for at in ["step-02", "seal", "test-01"] {
        let taken = Resumption::open(&folder).unwrap();
        let again = recipe.clone();
        rig.until_killed(false, begins(at), async move |engine| {
            let _ = engine.resume(taken, Some(again)).await;
        })
        .await;
    }
    let (report, told) = resumed(&rig, &folder, &recipe).await;
    assert!(report.error.is_none(), "{report:?}\n{}", story(&told));
    is_whole(&folder, "killed four times");
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    let last = folder.events().unwrap().pop().unwrap().body;
    assert!(matches!(
        last,
        Event::BakeFinished {
            outcome: Outcome::Ok,
            ..
        }
    ));
    rig.end().await;
}
