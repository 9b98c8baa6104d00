//! Phase 10: where the image goes, who may use it, and for how long; and what becomes
//! of a bake of which some of that failed.

use forno_aws::{ImageId, TagMatch};
use forno_bake::{BakeFolder, BakeReport, ExitCode, Outlook, Resumption, RunOptions, SweepOptions};
use forno_events::Event;
use forno_local::{Fault, FaultPlan, Moment, Then};
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

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_public_where_the_region_lets_them() {
    let rig = Rig::start().await;
    let public = RECIPE
        .split_once("[publish]")
        .map(|(before, _)| format!("{before}[publish]\npublic_snapshots = true\n"))
        .unwrap();
    rig.call(&[
        ("Action", "EnableSnapshotBlockPublicAccess"),
        ("State", "block-new-sharing"),
    ]);
    let recipes = [rig.recipe("one", &public)];
    let refused = rig.engine().plan(&recipes, RunOptions::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::Preflight);
    let text = refused.to_string();
    assert!(
        text.contains("blocks public access for snapshots"),
        "{text}"
    );

    rig.call(&[("Action", "DisableSnapshotBlockPublicAccess")]);
    let (report, _) = rig.bake(rig.recipe("one", &public)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let id: ImageId = report.image_id.as_deref().unwrap().parse().unwrap();
    let image = rig.gateway.require_image(&id).await.unwrap();
    for snapshot in image.snapshots() {
        let shared = rig.call(&[
            ("Action", "DescribeSnapshotAttribute"),
            ("SnapshotId", snapshot.as_str()),
            ("Attribute", "createVolumePermission"),
        ]);
        assert!(shared.contains("<group>all</group>"), "{shared}");
    }
    let permissions = launch_permission(&rig, id.as_str());
    assert!(!permissions.contains("<group>"), "{permissions}");
    rig.end().await;
}

const COPIED: &str = r#"
description = "copied"
[builder]
disk = { encrypted = false }
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
[publish]
regions = ["sa-east-1", "us-west-2"]
accounts = ["111122223333"]
deprecate_in = "30d"
imds_support = "v2.0"
"#;

/// Whether machines of an image want IMDSv2.
fn wants_imds_v2(rig: &Rig, region: &str, image: &str) -> bool {
    let described = rig.call_in(
        region,
        &[("Action", "DescribeImages"), ("ImageId.1", image)],
    );
    described.contains("<imdsSupport>v2.0</imdsSupport>")
}

/// Of a region: its images and snapshots, as finished or not.
async fn there(rig: &Rig, region: &str) -> Vec<String> {
    let gateway = rig.gateway.in_region(region);
    let ours = [TagMatch::is("forno:image", "one")];
    let images = gateway.images_tagged(&ours).await.unwrap();
    let snapshots = gateway.snapshots_tagged(&ours).await.unwrap();
    let images = images.iter().map(|image| ("image", &image.tags));
    let snapshots = snapshots
        .iter()
        .map(|snapshot| ("snapshot", &snapshot.tags));
    let mut found: Vec<String> = images
        .chain(snapshots)
        .map(|(kind, tags)| match tags.get("forno:finished") {
            Some(_) => format!("finished {kind}"),
            None => kind.to_owned(),
        })
        .collect();
    found.sort();
    found
}

const WHOLE: [&str; 2] = ["finished image", "finished snapshot"];

async fn copy_is_published(rig: &Rig, report: &BakeReport, region: &str) {
    let manifest = rig.folder_of(report).manifest().unwrap().unwrap();
    let id: ImageId = manifest.copies[region].parse().unwrap();
    let copy = rig
        .gateway
        .in_region(region)
        .require_image(&id)
        .await
        .unwrap();
    assert_eq!(copy.name, report.image_name);
    assert_eq!(copy.description.as_deref(), Some("copied"));
    assert!(copy.deprecated.is_some(), "{region}");
    assert!(wants_imds_v2(rig, region, copy.id.as_str()), "{region}");
    assert_eq!(
        copy.tags.get("forno:digest"),
        Some(manifest.digest.whole.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_made_side_by_side_and_published_as_the_image_is() {
    let rig = Rig::start().await;
    let (report, _) = rig.bake(rig.recipe("one", COPIED)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.left().await, WHOLE);
    let image = report.image_id.as_deref().unwrap();
    assert!(wants_imds_v2(&rig, rig.gateway.region(), image));
    for region in ["sa-east-1", "us-west-2"] {
        assert_eq!(there(&rig, region).await, WHOLE, "{region}");
        copy_is_published(&rig, &report, region).await;
    }
    let calls = rig.endpoint().calls();
    let of = |action: &str, region: &str| {
        let mut found = calls
            .iter()
            .filter(|c| c.action == action && c.region == region);
        found.next().map(|call| call.number)
    };
    // Nobody is given a copy that is not marked.
    let shared = of("ModifyImageAttribute", "sa-east-1").unwrap();
    assert!(of("CreateTags", "sa-east-1").unwrap() < shared);
    rig.end().await;
}

async fn resumed(rig: &Rig, folder: &BakeFolder) -> BakeReport {
    let engine = rig.engine();
    let taken = Resumption::open(folder).unwrap();
    in_time(Box::pin(engine.resume(taken, None))).await.unwrap()
}

/// Of how many CopyImage were asked for.
fn copies_asked(rig: &Rig) -> usize {
    let calls = rig.endpoint().calls();
    calls
        .iter()
        .filter(|call| call.action == "CopyImage")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_fails_stops_no_other_and_is_all_that_a_resume_repeats() {
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", COPIED);
    let first = || Fault::of("CopyImage").calls([1]);
    let failed = Then::ImageFailed("Client.InternalError".to_owned());
    let mut regions_before = 0;
    for fault in [first().error("ResourceLimitExceeded"), first().then(failed)] {
        rig.endpoint().set_faults(FaultPlan::of([fault]));
        let (report, _) = rig.bake(recipe.clone()).await;
        let error = report.error.as_ref().unwrap();
        assert_eq!(report.exit_code(), ExitCode::Publish, "{error}");
        let folder = rig.folder_of(&report);
        let manifest = folder.manifest().unwrap().unwrap();
        assert_eq!(manifest.copies.len(), 1, "{error}");
        // What failed there is gone, and what was made before is not touched.
        let mut all = Vec::new();
        for region in ["sa-east-1", "us-west-2"] {
            all.extend(there(&rig, region).await);
        }
        assert_eq!(all.len(), 2 * (regions_before + 1), "{all:?}");
        assert!(
            all.iter().all(|one| one.starts_with("finished ")),
            "{all:?}"
        );

        // A sweep makes no copies, and does not close the bake for good.
        let swept = rig.engine().sweep(SweepOptions::default(), &|_| {}).await;
        assert_eq!(swept.unwrap().exit_code(), ExitCode::Done);
        assert_eq!(folder.outlook(), Some(Outlook::Resume));

        let asked = copies_asked(&rig);
        let report = resumed(&rig, &folder).await;
        assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
        assert_eq!(copies_asked(&rig), asked + 1);
        for region in ["sa-east-1", "us-west-2"] {
            copy_is_published(&rig, &report, region).await;
        }
        assert_eq!(folder.outlook(), None);
        regions_before += 2;
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_can_be_wanted_within_a_time() {
    let rig = Rig::start().await;
    let text = |within: &str| {
        format!("\n[publish]\nregions = [\"sa-east-1\"]\n{within}[[test]]\nrun = \"true\"\n")
    };
    // Refused where it is asked for, and only there.
    let fault = Fault::of("CopyImage").with("SnapshotCopyCompletionDurationMinutes", "45");
    rig.endpoint().set_faults(FaultPlan::of([fault
        .every()
        .error("SnapshotCopyLimitExceeded")]));
    let wanted = text("copy_within = \"45m\"\n");
    let (report, _) = rig.bake(rig.recipe("one", &wanted)).await;
    let error = report.error.unwrap().to_string();
    assert!(error.contains("SnapshotCopyLimitExceeded"), "{error}");
    for within in ["copy_within = \"1h\"\n", ""] {
        let (report, _) = rig.bake(rig.recipe("two", &text(within))).await;
        assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_an_answer_is_made_once() {
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", COPIED);
    let held = Fault::of("CopyImage").calls([1]).hang(Moment::After);
    rig.endpoint().set_faults(FaultPlan::of([held]));
    let begins = |event: &Event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == "publish");
    let folder = rig
        .until_killed(true, begins, async move |engine| {
            // Nobody hears how it ends.
            let _ = engine.bake(vec![recipe], RunOptions::default()).await;
        })
        .await;
    let report = resumed(&rig, &folder).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    for region in ["sa-east-1", "us-west-2"] {
        assert_eq!(there(&rig, region).await, WHOLE, "{region}");
        copy_is_published(&rig, &report, region).await;
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_there_is_not_is_refused_before_the_beginning() {
    let rig = Rig::start().await;
    let recipes = [rig.recipe("one", &COPIED.replace("us-west-2", "ap-north-9"))];
    let refused = rig.engine().plan(&recipes, RunOptions::default()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::Preflight);
    assert!(refused.to_string().contains("ap-north-9"), "{refused}");
    rig.end().await;
}
