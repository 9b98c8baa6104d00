//! A bake that only tries a recipe: everything that is done on a builder, and no image.

use forno_bake::{ExitCode, Goal, Resumption, RunOptions, RunResult};
use forno_events::Event;
use forno_saga::Closing;

use crate::rig::{Rig, in_time, rest, story};

const RECIPE: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[check]]
command = "true"
[[test]]
run = "false"
[publish]
regions = ["sa-east-1"]
"#;

async fn trying() -> Rig {
    let mut rig = Rig::start().await;
    rig.settings.goal = Goal::Trial;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_the_builder_as_it_is() {
    let rig = trying().await;
    let engine = rig.engine();
    let events = engine.subscribe();
    let base = rig.recipe("base", RECIPE);
    let recipes = vec![base, rig.recipe("child", "from = \"base\"\n")];
    let report = in_time(engine.bake(recipes, RunOptions::default())).await;
    engine.close();
    let events = rest(events).await;
    let told = story(&events);
    let [RunResult::Baked(base), RunResult::Refused { error, .. }] = &report.unwrap().results[..]
    else {
        panic!("{told}")
    };
    assert_eq!(base.exit_code(), ExitCode::Done, "{told}");
    assert_eq!((&base.image_id, &base.image_name), (&None, &None));
    // What starts from it starts from the newest image, which there is not.
    assert_eq!(error.exit_code(), ExitCode::Preflight, "{error}");
    assert!(told.contains("check-01 ends: Ok"), "{told}");
    assert!(told.contains("seal ends: Ok"), "{told}");
    for event in &events {
        if let Event::BakeStarted { steps, .. } = &event.body {
            let phases: Vec<&str> = steps.iter().map(|step| step.phase.as_str()).collect();
            assert_eq!(phases.last(), Some(&"teardown"));
            assert!(!phases.contains(&"capture") && !phases.contains(&"prove"));
        }
    }
    // The preflight may have asked about them, and was told DryRunOperation.
    let calls = rig.endpoint().calls();
    let is_of_image =
        |action: &str| ["StopInstances", "CreateImage", "CopyImage"].contains(&action);
    let made = calls
        .iter()
        .filter(|call| is_of_image(&call.action) && call.code.is_none());
    assert_eq!(made.count(), 0, "{calls:?}");
    let folder = rig.folder_of(base);
    assert_eq!(
        folder.ledger().unwrap().fold.closing(),
        Some(Closing::Undone)
    );
    assert!(folder.manifest().unwrap().is_none());
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_a_failure_and_a_killed_one_is_taken_up_as_a_trial() {
    let mut rig = trying().await;
    let failing = rig.recipe(
        "one",
        "\n[[step]]\nname = \"no\"\nshell = { run = \"exit 4\" }\n",
    );
    let report = in_time(rig.engine().bake(vec![failing], RunOptions::default())).await;
    assert_eq!(report.unwrap().exit_code(), ExitCode::StepFailed);
    assert_eq!(rig.left().await, [""; 0]);

    let recipe = rig.recipe("two", RECIPE);
    let recipes = vec![recipe.clone()];
    let at =
        |event: &Event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == "seal");
    let folder = rig
        .until_killed(false, at, async move |engine| {
            let _ = engine.bake(recipes, RunOptions::default()).await;
        })
        .await;
    rig.settings.goal = Goal::Image;
    let taken = Resumption::open(&folder).unwrap();
    let engine = rig.engine();
    let report = in_time(Box::pin(engine.resume(taken, Some(recipe))))
        .await
        .unwrap();
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(report.image_id, None);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}
