//! Phase 8: the two ways to an image, and what is begun before it.

use forno_aws::VolumeType;
use forno_bake::{ExitCode, RunOptions};
use forno_events::Event;
use forno_local::{Fault, FaultPlan, Then};

use crate::rig::{Rig, story};

const REST: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;

fn count(rig: &Rig, action: &str) -> usize {
    let calls = rig.endpoint().calls();
    calls.iter().filter(|call| call.action == action).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_registered_of_snapshots_that_forno_makes() {
    let rig = Rig::start().await;
    let text = format!(
        r#"
description = "registered"
register = {{ boot_mode = "uefi", tpm_support = "v2.0", uefi_data_file = "uefi.txt" }}
disk = {{ type = "gp2" }}
tags = {{ a = "image" }}
snapshot_tags = {{ a = "snapshot" }}
[[builder.volumes]]
device = "/dev/sdf"
size = "2GiB"
delete_on_termination = false
[[builder.volumes]]
device = "/dev/sdg"
size = "1GiB"
in_image = false
{REST}"#
    );
    fs_err::write(rig.path().join("images/uefi.txt"), "QU1aTlVFRkk=\n").unwrap();
    let recipe = rig.recipe("one", &text);
    let engine = rig.engine();
    let plans = engine
        .plan(std::slice::from_ref(&recipe), RunOptions::default())
        .await;
    assert!(plans.unwrap()[0].register.is_some());
    let (report, events) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    assert_eq!(
        (count(&rig, "RegisterImage"), count(&rig, "CreateImage")),
        (1, 0)
    );
    let id = report.image_id.unwrap();
    let image = rig
        .gateway
        .require_image(&id.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(image.boot_mode.as_deref(), Some("uefi"));
    assert!(image.tpm && image.ena && image.sriov);
    assert_eq!(image.description.as_deref(), Some("registered"));
    assert_eq!(image.tags.get("a"), Some("image"));
    let volumes: Vec<_> = image
        .block_devices
        .iter()
        .map(|one| {
            let kind = one.volume_type.map(VolumeType::as_str);
            (
                one.device.as_str(),
                one.size_gib,
                kind,
                one.outlives_instance,
            )
        })
        .collect();
    assert_eq!(
        volumes,
        [
            ("/dev/xvda", Some(8), Some("gp2"), false),
            ("/dev/sdf", Some(2), Some("gp3"), true)
        ]
    );
    let data = rig.call(&[
        ("Action", "DescribeImageAttribute"),
        ("ImageId", &id),
        ("Attribute", "uefiData"),
    ]);
    assert!(data.contains("QU1aTlVFRkk="), "{data}");
    let snapshots: Vec<_> = image.snapshots().cloned().collect();
    for snapshot in rig.gateway.snapshots(&snapshots).await.unwrap() {
        assert_eq!(snapshot.tags.get("a"), Some("snapshot"));
        assert!(snapshot.tags.get("forno:finished").is_some());
        assert!(snapshot.encrypted);
    }
    let left = ["finished image", "finished snapshot", "finished snapshot"];
    assert_eq!(rig.left().await, left);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_snapshots_go_when_the_image_is_there_and_cost_nothing_when_they_fail() {
    let rig = Rig::start().await;
    let text = format!("\n[builder]\nearly_snapshots = true\n{REST}");
    let (report, events) = rig.bake(rig.recipe("one", &text)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    let made = events.iter().any(
        |event| matches!(&event.body, Event::ResourceCreated(made) if made.kind == "snapshot"),
    );
    assert!(made, "{}", story(&events));

    for fault in [
        Fault::of("CreateSnapshot").error("SnapshotCreationPerVolumeRateExceeded"),
        Fault::of("CreateSnapshot").then(Then::SnapshotError("Server.InternalError".to_owned())),
    ] {
        rig.endpoint().set_faults(FaultPlan::of([fault.calls([1])]));
        let (report, events) = rig.bake(rig.recipe("two", &text)).await;
        assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    }
    let left = rig.left().await;
    assert_eq!(left.len(), 6, "{left:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_is_told_and_nothing_stays() {
    let rig = Rig::start().await;
    let failing =
        Fault::of("CreateSnapshot").then(Then::SnapshotError("Client.InvalidKey".to_owned()));
    rig.endpoint()
        .set_faults(FaultPlan::of([failing.calls([1])]));
    let (report, events) = rig
        .bake(rig.recipe("one", &format!("register = {{}}\n{REST}")))
        .await;
    let error = report.error.as_ref().unwrap().to_string();
    assert!(
        error.contains("in error") && error.contains("Client.InvalidKey"),
        "{error}"
    );
    assert_eq!(report.exit_code(), ExitCode::Capture, "{}", story(&events));
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}
