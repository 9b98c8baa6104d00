//! Stopped at any step, by any rung: nothing stays, and everything that began
//! has an end.

use forno_bake::{ExitCode, Ladder, RunOptions};
use forno_events::{Envelope, Event, Outcome};
use forno_recipe::Recipe;

use crate::rig::{Rig, in_time, only, rest, story, until};

const RECIPE: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[check]]
command = "true"
[[test]]
run = "true"
"#;

/// Every step of a bake before its image is finished.
const STEPS: [&str; 13] = [
    "key-pair",
    "security-group",
    "builder",
    "connect",
    "step-01",
    "check-01",
    "inventory",
    "seal",
    "stop",
    "image",
    "test-machine",
    "test-connect",
    "test-01",
];

/// Bakes, and climbs the ladder so many rungs when the step begins.
async fn stopped_at(
    rig: &mut Rig,
    recipe: Recipe,
    at: &'static str,
    rungs: usize,
) -> (forno_bake::BakeReport, Vec<Envelope>) {
    rig.ladder = Ladder::new();
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let ladder = rig.ladder.clone();
    let watch = tokio::spawn(async move {
        until(
            &mut events,
            |event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == at),
        )
        .await;
        for _ in 0..rungs {
            ladder.climb("interrupt");
        }
        rest(events).await
    });
    let report = in_time(engine.bake(vec![recipe], RunOptions::default())).await;
    engine.close();
    (only(report.unwrap()), watch.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_whichever_step_it_is_stopped_nothing_stays() {
    let mut rig = Rig::start().await;
    for at in STEPS {
        let recipe = rig.recipe("one", RECIPE);
        let (report, told) = stopped_at(&mut rig, recipe, at, 1).await;
        let told = story(&told);
        let why = format!("stopped at {at}: {:?}\n{told}", report.error);
        assert_eq!(report.exit_code(), ExitCode::Interrupted, "{why}");
        assert_eq!(rig.left().await, [""; 0], "{why}");
        assert!(told.contains("cancel: interrupt: stopping"), "{why}");

        let recorded = rig.folder_of(&report).events().unwrap();
        for envelope in &recorded {
            if let Event::StepStarted { step, .. } = &envelope.body {
                let ended = recorded.iter().any(|other| {
                    matches!(&other.body, Event::StepFinished { step: of, .. } if of == step)
                });
                assert!(ended, "{step} has no end, {why}");
            }
        }
        let last = recorded.last().map(|envelope| &envelope.body);
        assert!(
            matches!(
                last,
                Some(Event::BakeFinished {
                    outcome: Outcome::Cancelled,
                    exit_code: 130,
                    leaks: 0,
                    ..
                })
            ),
            "{last:?}, {why}"
        );
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_command_is_cut_off() {
    let mut rig = Rig::start().await;
    let recipe = rig.recipe(
        "one",
        r#"
[[step]]
name = "sleep"
shell = { run = "sleep 3600" }
"#,
    );
    let (report, _) = stopped_at(&mut rig, recipe, "step-01", 1).await;
    assert_eq!(report.exit_code(), ExitCode::Interrupted);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_hurry_everything_is_asked_to_go_and_what_was_not_awaited_is_told() {
    let mut rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let (report, told) = stopped_at(&mut rig, recipe, "step-01", 2).await;
    // An instance takes a moment to end, so something was not awaited.
    assert_eq!(report.exit_code(), ExitCode::LeftBehind, "{}", story(&told));
    for left in &report.unreleased {
        assert!(left.command.starts_with("aws ec2 "), "{}", left.command);
        assert!(left.command.contains("--endpoint-url"), "{}", left.command);
    }
    let asked = rig
        .gateway
        .instances_tagged(&[forno_aws::TagMatch::has("forno:bake")])
        .await
        .unwrap();
    assert!(asked.iter().all(|instance| instance.state.is_ending()));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bake_that_has_not_begun_does_not_begin() {
    let rig = Rig::start().await;
    rig.ladder.climb("interrupt");
    let recipe = rig.recipe("one", RECIPE);
    let (report, events) = rig.run(vec![recipe], RunOptions::default()).await;
    assert_eq!(report.exit_code(), ExitCode::Interrupted);
    assert!(events.is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_bake_ends() {
    let rig = Rig::start().await;
    let mut recipe = rig.recipe(
        "one",
        r#"
[[step]]
name = "sleep"
shell = { run = "sleep 3600" }
"#,
    );
    // Shorter than a recipe may say.
    recipe.builder.timeouts.total = forno_recipe::Period::from_secs(3);
    let (report, _) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::StepFailed);
    let error = report.error.unwrap().to_string();
    assert!(error.contains("the bake took longer than"), "{error}");
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}
