//! Many recipes: bases first, only what has changed, each for a reason.

use forno_bake::{Change, ExitCode, RunOptions, RunReport, RunResult};
use forno_recipe::Recipe;

use crate::rig::Rig;

const IF_CHANGED: RunOptions = RunOptions { if_changed: true };

fn base(rig: &Rig, says: &str) -> Recipe {
    rig.recipe_with(
        "base",
        r#"
[vars]
says = { default = "nothing" }
[[step]]
name = "say"
shell = { run = "echo {{ vars.says }}" }
"#,
        &[("says", says)],
    )
}

fn recipes(rig: &Rig, says: &str) -> Vec<Recipe> {
    let base = base(rig, says);
    // Given out of order on purpose.
    vec![
        rig.recipe("worker", "from = \"base\"\n"),
        rig.recipe(
            "other",
            "\n[[step]]\nname = \"say\"\nshell = { run = \"true\" }\n",
        ),
        base,
    ]
}

/// Each image and what became of it, in order.
fn outcomes(report: &RunReport) -> Vec<String> {
    report
        .results
        .iter()
        .map(|result| match result {
            RunResult::Baked(report) => match &report.error {
                None => format!("{}: {}", report.image, report.reason),
                Some(error) => format!("{} failed: {error}", report.image),
            },
            RunResult::Unchanged { image, .. } => format!("{image}: unchanged"),
            RunResult::Refused { image, error } => format!("{image} refused: {error}"),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_run_bakes_what_has_a_reason_and_says_which() {
    let rig = Rig::start().await;
    let (report, _) = rig.run(recipes(&rig, "one"), IF_CHANGED).await;
    assert_eq!(report.exit_code(), ExitCode::Done);
    let told = outcomes(&report);
    assert!(told.contains(&"base: there is no finished image of this name yet".to_owned()));
    assert!(
        told.contains(&"worker: `base`, which it starts from, is baked anew".to_owned()),
        "{told:?}"
    );
    let at = |name: &str| told.iter().position(|line| line.starts_with(name)).unwrap();
    assert!(at("base") < at("worker"));

    let (report, events) = rig.run(recipes(&rig, "one"), IF_CHANGED).await;
    assert_eq!(
        report.exit_code(),
        ExitCode::NothingToDo,
        "{:?}",
        outcomes(&report)
    );
    assert!(events.is_empty());

    let (report, _) = rig.run(recipes(&rig, "two"), IF_CHANGED).await;
    let told = outcomes(&report);
    assert_eq!(report.exit_code(), ExitCode::Done);
    let base = told.iter().find(|line| line.starts_with("base")).unwrap();
    assert!(base.contains("var says"), "{base}");
    assert!(told.contains(&"other: unchanged".to_owned()), "{told:?}");
    assert!(
        told.contains(&"worker: `base`, which it starts from, is baked anew".to_owned()),
        "{told:?}"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependent_image_starts_from_the_one_just_baked() {
    let rig = Rig::start().await;
    let (report, _) = rig.run(recipes(&rig, "one"), RunOptions::default()).await;
    let id = |name: &str| {
        report
            .results
            .iter()
            .find_map(|result| match result {
                RunResult::Baked(report) if report.image == name => {
                    Some((report.image_id.clone().unwrap(), report.bake.clone()))
                }
                _ => None,
            })
            .unwrap()
    };
    let bakes = forno_bake::Bakes::under(&rig.settings.home);
    let worker = bakes.folder(&id("worker").1).manifest().unwrap().unwrap();
    assert_eq!(worker.source_id, id("base").0);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_knows_what_a_run_would_do() {
    let rig = Rig::start().await;
    let recipes = recipes(&rig, "one");
    let plans = rig.engine().plan(&recipes, IF_CHANGED).await.unwrap();
    let changes: Vec<(&str, &Change)> = plans
        .iter()
        .map(|plan| (plan.image.as_str(), &plan.change))
        .collect();
    assert!(changes.contains(&("base", &Change::First)));
    assert!(changes.contains(&(
        "worker",
        &Change::Base {
            recipe: "base".into()
        }
    )));
    assert!(plans.iter().all(|plan| plan.estimate.is_none()));
    assert_eq!(rig.left().await, [""; 0]);
    assert!(!rig.settings.home.join("bakes").exists());

    rig.run(recipes.clone(), RunOptions::default()).await;
    let plans = rig.engine().plan(&recipes, IF_CHANGED).await.unwrap();
    assert!(plans.iter().all(|plan| plan.change.is_none()));
    for plan in plans {
        let estimate = plan.estimate.unwrap();
        assert!(
            estimate.bakes == 1 && estimate.elapsed_ms > 0,
            "{estimate:?}"
        );
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_starts_from_a_failed_base_is_not_begun() {
    let rig = Rig::start().await;
    // A recipe can only name one that is there.
    let base = rig.recipe(
        "base",
        "\n[[step]]\nname = \"fail\"\nshell = { run = \"exit 1\" }\n",
    );
    let recipes = vec![rig.recipe("worker", "from = \"base\"\n"), base];
    let (report, _) = rig.run(recipes, RunOptions::default()).await;
    let told = outcomes(&report);
    assert_eq!(report.exit_code(), ExitCode::StepFailed, "{told:?}");
    assert!(
        told.contains(
            &"worker refused: not tried: `base`, which it starts from, was not made".into()
        ),
        "{told:?}"
    );
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bakes_at_once_do_not_meet() {
    let mut rig = Rig::start().await;
    rig.settings.parallel = 8;
    let many: Vec<Recipe> = (0..12)
        .map(|number| rig.recipe(&format!("image-{number}"), "\n"))
        .collect();
    let (report, _) = rig.run(many, RunOptions::default()).await;
    assert_eq!(
        report.exit_code(),
        ExitCode::Done,
        "{:?}",
        outcomes(&report)
    );
    let left = rig.left().await;
    assert_eq!(left.len(), 24, "{left:?}");
    assert!(left.iter().all(|one| one.starts_with("finished ")));
    rig.end().await;
}
