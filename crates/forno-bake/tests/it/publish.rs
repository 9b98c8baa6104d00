//! Phase 10: who may use the image, and for how long; and what becomes of a bake
//! whose image could not be handed over.

use forno_aws::ImageId;
use forno_bake::{BakeReport, ExitCode, Outlook, Resumption, RunOptions};
use forno_events::Event;
use forno_local::{Fault, FaultPlan};
use forno_saga::Closing;

use crate::rig::{Rig, in_time, story};

const RECIPE: &str = r#"
[builder]
disk = { encrypted = false }
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
[publish]
accounts = ["111122223333", "444455556666"]
organizations = ["arn:aws:organizations::111122223333:organization/o-abcdefghij"]
share_snapshots = true
deprecate_in = "30d"
deregistration_protection = "without-cooldown"
"#;

fn launch_permission(rig: &Rig, image: &str) -> String {
    rig.call(&[
        ("Action", "DescribeImageAttribute"),
        ("ImageId", image),
        ("Attribute", "launchPermission"),
    ])
}

/// Everything that the recipe says holds.
async fn is_published(rig: &Rig, report: &BakeReport) {
    let id = report.image_id.as_deref().unwrap();
    let permissions = launch_permission(rig, id);
    for who in ["111122223333", "444455556666", "organization/o-abcdefghij"] {
        assert!(permissions.contains(who), "{permissions}");
    }
    let image = rig
        .gateway
        .require_image(&id.parse::<ImageId>().unwrap())
        .await
        .unwrap();
    let made = image.created.unwrap();
    let days = image.deprecated.unwrap().duration_since(made).as_hours() / 24;
    assert!((29..=30).contains(&days), "{days} days");
    for snapshot in image.snapshots() {
        let shared = rig.call(&[
            ("Action", "DescribeSnapshotAttribute"),
            ("SnapshotId", snapshot.as_str()),
            ("Attribute", "createVolumePermission"),
        ]);
        assert!(shared.contains("444455556666"), "{shared}");
    }
    let refused = rig.gateway.deregister_image(&image.id).await.unwrap_err();
    assert_eq!(refused.code(), Some("OperationNotPermitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_image_is_published_as_the_recipe_says() {
    let rig = Rig::start().await;
    let (report, events) = rig.bake(rig.recipe("one", RECIPE)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    is_published(&rig, &report).await;
    let told = story(&events);
    let marked = told.find("finish starts").unwrap();
    assert!(told.find("publish starts").unwrap() > marked, "{told}");
    // Nobody is given what could still be undone.
    let calls: Vec<String> = rig
        .endpoint()
        .calls()
        .iter()
        .map(|call| call.action.clone())
        .collect();
    let at = |name: &str| calls.iter().position(|call| call.ends_with(name)).unwrap();
    assert!(at("ModifyImageAttribute") > at("CreateTags"), "{calls:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_published_is_kept_and_published_later() {
    let rig = Rig::start().await;
    let denied = Fault::of("ModifyImageAttribute")
        .calls([1])
        .error("UnauthorizedOperation");
    rig.endpoint().set_faults(FaultPlan::of([denied]));
    let (report, events) = rig.bake(rig.recipe("one", RECIPE)).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!(report.exit_code(), ExitCode::Publish, "{error}");
    assert!(
        error.to_string().contains("is finished, and not published"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("forno resume"), "{error:?}");
    assert!(events.iter().any(|event| matches!(
        &event.body,
        Event::StepFinished { step, message: Some(_), .. } if step.as_str() == "publish"
    )));
    // The image is there, and so is everything else gone.
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    let folder = rig.folder_of(&report);
    assert_eq!(folder.outlook(), Some(Outlook::Resume));

    let engine = rig.engine();
    let taken = Resumption::open(&folder).unwrap();
    assert!(taken.recipe().unwrap().is_none());
    let report = in_time(Box::pin(engine.resume(taken, None))).await.unwrap();
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    is_published(&rig, &report).await;
    let fold = folder.ledger().unwrap().fold;
    assert_eq!(fold.closing(), Some(Closing::Finished));
    assert_eq!(folder.outlook(), None);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ec2_would_refuse_in_the_end_is_refused_before_the_beginning() {
    let rig = Rig::start().await;
    let public = RECIPE
        .split_once("[publish]")
        .map(|(before, _)| format!("{before}[publish]\npublic = true\n"))
        .unwrap();
    let engine = rig.engine();
    let recipes = [rig.recipe("one", &public)];
    let refused = engine.plan(&recipes, RunOptions::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::Preflight);
    assert!(
        refused.to_string().contains("blocks public access"),
        "{refused}"
    );
    assert_eq!(rig.left().await, [""; 0]);

    rig.call(&[("Action", "DisableImageBlockPublicAccess")]);
    let (report, _) = rig.bake(rig.recipe("one", &public)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let permissions = launch_permission(&rig, report.image_id.as_deref().unwrap());
    assert!(permissions.contains("<group>all</group>"), "{permissions}");
    rig.end().await;
}
