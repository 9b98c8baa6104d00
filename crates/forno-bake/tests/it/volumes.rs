//! Volumes besides the root: on the builder, in the image, on machines of the image, and
//! on none of them left behind.

use forno_bake::{ExitCode, RunOptions};

use crate::rig::{Rig, story};

const REST: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;

const VOLUMES: &str = r#"
[[builder.volumes]]
device = "/dev/sdf"
size = "2GiB"
delete_on_termination = false
[[builder.volumes]]
device = "/dev/sdg"
size = "200GiB"
type = "st1"
encrypted = false
in_image = false
"#;

impl Rig {
    /// Device, size and whether it goes with its machine, of each volume in an image.
    async fn volumes_of_image(&self, id: &str) -> Vec<(String, Option<u32>, bool)> {
        let told = self.call(&[("Action", "DescribeImages"), ("ImageId.1", id)]);
        let image = self
            .gateway
            .require_image(&id.parse().unwrap())
            .await
            .unwrap();
        let goes: Vec<bool> = told
            .split("<deleteOnTermination>")
            .skip(1)
            .map(|rest| rest.starts_with("true"))
            .collect();
        let devices = image.block_devices.into_iter().zip(goes);
        devices
            .map(|(one, goes)| (one.device, one.size_gib, goes))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_in_the_image_and_go_with_every_machine_of_a_bake() {
    let rig = Rig::start().await;
    let (report, events) = rig
        .bake(rig.recipe("one", &format!("{VOLUMES}{REST}")))
        .await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    let one = report.image_id.unwrap();
    let root = ("/dev/xvda".to_owned(), Some(8), true);
    assert_eq!(
        rig.volumes_of_image(&one).await,
        [root.clone(), ("/dev/sdf".to_owned(), Some(2), false)]
    );
    // Neither the builder's volume nor that of the test machine stays, though the image
    // would let it.
    let left = ["finished image", "finished snapshot", "finished snapshot"];
    assert_eq!(rig.left().await, left);

    // One that starts from it has the volume without a word, and may do without.
    let from = |more: &str| format!("from = \"one\"\n{more}{REST}");
    let (report, events) = rig.bake(rig.recipe("two", &from(""))).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    assert_eq!(
        rig.volumes_of_image(&report.image_id.unwrap()).await,
        [root.clone(), ("/dev/sdf".to_owned(), Some(2), true)]
    );
    let mut both = [left, left].concat();
    both.sort_unstable();
    assert_eq!(rig.left().await, both);
    let without = from("[[builder.volumes]]\ndevice = \"/dev/sdf\"\nno_device = true\n");
    let (report, events) = rig.bake(rig.recipe("three", &without)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    let id = report.image_id.unwrap();
    assert_eq!(rig.volumes_of_image(&id).await, [root]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_begins_as_a_snapshot_and_a_copy_has_it_too() {
    let rig = Rig::start().await;
    let (report, events) = rig
        .bake(rig.recipe("one", &format!("{VOLUMES}{REST}")))
        .await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    let id = report.image_id.unwrap().parse().unwrap();
    let image = rig.gateway.require_image(&id).await.unwrap();
    let snapshot = image.snapshots().last().unwrap().to_string();
    let text = format!(
        "\n[[builder.volumes]]\ndevice = \"/dev/sdp\"\nsnapshot_id = \"{snapshot}\"\n[publish]\nregions = [\"sa-east-1\"]\n{REST}"
    );
    let (report, events) = rig.bake(rig.recipe("two", &text)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    let there = rig.gateway.in_region("sa-east-1");
    let copy = there.images_named(&report.image_name.unwrap()).await;
    let copy = copy.unwrap().remove(0);
    let devices: Vec<_> = copy
        .block_devices
        .iter()
        .map(|one| (one.device.as_str(), one.size_gib, one.encrypted))
        .collect();
    let expected = [("/dev/xvda", Some(8), true), ("/dev/sdp", Some(2), true)];
    assert_eq!(devices, expected);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_cannot_give_is_told_before_anything_is_made() {
    let rig = Rig::start().await;
    let (report, _) = rig
        .bake(rig.recipe("one", &format!("{VOLUMES}{REST}")))
        .await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let before = rig.left().await;
    let shared = "encrypted = false\n[builder.disk]\nencrypted = false\n[publish]\naccounts = [\"111122223333\"]";
    for (volume, words) in [
        (
            "device = \"/dev/xvda\"\nsize = \"9GiB\"",
            "the root device of",
        ),
        (
            "device = \"/dev/sdh\"",
            "the volume at /dev/sdh has no size",
        ),
        (
            "device = \"/dev/sdh\"\nno_device = true",
            "has no volume at /dev/sdh to be left out",
        ),
        (
            "device = \"/dev/sdf\"\nsize = \"1GiB\"",
            "is to have 1GiB, but that of",
        ),
        (
            "device = \"/dev/sdf\"\nsnapshot_id = \"snap-0123456789abcdef0\"",
            "has a volume at /dev/sdf already",
        ),
        (
            &format!("device = \"/dev/sdf\"\n{shared}"),
            "is encrypted, and so is what is made from it",
        ),
    ] {
        let text = format!("from = \"one\"\n[[builder.volumes]]\n{volume}\n{REST}");
        let recipe = rig.recipe("two", &text);
        let planned = rig.engine().plan(&[recipe], RunOptions::default()).await;
        let error = planned.expect_err(words);
        assert_eq!(error.exit_code(), ExitCode::Preflight, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    assert_eq!(rig.left().await, before);
    rig.end().await;
}
