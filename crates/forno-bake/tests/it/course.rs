//! The usual course: every phase, in order, and one image at the end.

use forno_aws::TagMatch;
use forno_bake::ExitCode;
use forno_saga::Closing;

use crate::rig::{Rig, story};

const RECIPE: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[check]]
command = "true"
[[test]]
run = "echo proven"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_bake_makes_an_image_and_nothing_else() {
    let rig = Rig::start().await;
    let (report, events) = rig.bake(rig.recipe("one", RECIPE)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);

    // The removals of the end happen side by side.
    let told = story(&events);
    let (course, end) = told.split_once("teardown starts (1)\n").unwrap();
    insta::assert_snapshot!("course", course);
    let mut end: Vec<&str> = end.lines().collect();
    end.sort_unstable();
    insta::assert_snapshot!("end", end.join("\n"));

    let folder = rig.folder_of(&report);
    assert_eq!(folder.events().unwrap(), events);
    let indices: Vec<u64> = events.iter().map(|event| event.index).collect();
    assert_eq!(indices, (0..events.len() as u64).collect::<Vec<_>>());
    let log = fs_err::read_to_string(folder.step_log(&forno_events::StepId::new("step-01")));
    assert_eq!(log.unwrap(), "hello\n");
    let ledger = folder.ledger().unwrap();
    assert_eq!(ledger.fold.closing(), Some(Closing::Finished));
    assert_eq!(ledger.fold.unreleased().count(), 0);
    assert!(!folder.is_alive().unwrap());
    assert!(folder.connection().unwrap().is_none());
    assert_eq!(folder.recipe().unwrap().unwrap()["steps"][0]["name"], "say");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_says_what_was_made_of_what() {
    let rig = Rig::start().await;
    let (report, _) = rig.bake(rig.recipe("one", RECIPE)).await;
    let manifest = rig.folder_of(&report).manifest().unwrap().unwrap();
    let image = rig
        .gateway
        .images_named(report.image_name.as_deref().unwrap())
        .await
        .unwrap()
        .remove(0);
    assert_eq!(manifest.image_id, image.id.as_str());
    assert_eq!(report.image_id.as_deref(), Some(image.id.as_str()));
    assert_eq!(
        image.tags.get("forno:digest"),
        Some(manifest.digest.whole.as_str())
    );
    assert_eq!(
        image.tags.get("forno:source-image"),
        Some(manifest.source_id.as_str())
    );
    assert_eq!(image.tags.get("Name"), report.image_name.as_deref());
    assert!(image.tags.get("forno:finished").is_some());
    let snapshots: Vec<String> = image.snapshots().map(ToString::to_string).collect();
    assert_eq!(manifest.snapshots, snapshots);
    let phases: Vec<&str> = manifest.phases.iter().map(|p| p.phase.as_str()).collect();
    assert_eq!(
        phases,
        [
            "key",
            "network",
            "builder",
            "connect",
            "provision",
            "check",
            "seal",
            "capture",
            "prove",
            "finish",
            "teardown"
        ]
    );
    rig.end().await;
}

/// Says it as it is, encoded, broken into lines and in two pieces, and fails with it.
const LEAK: &str = r#"
[vars]
token = { from = "env:TOKEN", secret = true }
[[step]]
name = "leak"
on_failure = "continue"
[step.shell]
env = { TOKEN = "{{ vars.token }}" }
run = """
echo "$TOKEN"
printf %s "$TOKEN" | base64
printf 'x%s' "$TOKEN" | base64 -w 7
printf %s "$TOKEN" | od -An -tx1 | tr -d ' '
sed "s,',&&,g; s/.*/'&'/" <<END
$TOKEN
END
printf 'tok-'; sleep 0.2; printf '%s\n' "$TOKEN" >&2
exit 9
"""
[[step]]
name = "in its text"
on_failure = "continue"
shell = { run = "echo {{ vars.token | quote }} >&2; {{ vars.token | quote }}" }
[[check]]
name = "not there"
command = "! ls '/nonexistent/{{ vars.token }}'"
[[test]]
run = "true"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_recorded_holds_a_secret() {
    let rig = Rig::start().await;
    let secret = "s3cr3t/t0k3n+of+fr1day";
    let recipe = rig.recipe_with("one", LEAK, &[("token", secret)]);
    let (report, events) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let told = format!("{events:?}");
    let mut searched = vec![("the events".to_owned(), told)];
    let mut folders = vec![report.folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = String::from_utf8_lossy(&fs_err::read(&path).unwrap()).into_owned();
                searched.push((path.display().to_string(), text));
            }
        }
    }
    for kept in [
        "ledger.jsonl",
        "events.jsonl",
        "manifest.json",
        "recipe.json",
        "step-01.log",
    ] {
        assert!(
            searched.iter().any(|(place, _)| place.ends_with(kept)),
            "{kept}"
        );
    }
    for (place, text) in searched {
        let joined = text.replace('\n', "");
        for form in [
            "s3cr3t/t0k3n",
            "czNjcjN0L3Qwazn",
            "NjcjN0",
            "s3cr3t%2Ft0k3n",
            "7333637233",
        ] {
            assert!(!joined.contains(form), "{form} in {place}:\n{text}");
        }
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_on_the_disk_is_no_image_and_one_with_a_reason_is_told() {
    let rig = Rig::start().await;
    let step = r#"
[vars]
token = { from = "env:TOKEN", secret = true }
[[step]]
name = "bake it in"
shell = { run = "printf 'x%s' \"$TOKEN\" | base64 -w 64 > kept", env = { TOKEN = "{{ vars.token }}" } }
"#;
    let vars = [("token", "s3cr3t/t0k3n+of+fr1day")];
    let (report, _) = rig.bake(rig.recipe_with("one", step, &vars)).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!(error.exit_code(), ExitCode::StepFailed);
    assert!(
        error.to_string().ends_with("/kept: a secret of this bake"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("[[seal.allow]]"));
    assert_eq!(rig.left().await, [""; 0]);

    let allowed = format!(
        "{step}[[seal.allow]]\npath = \"/*kept\"\nreason = \"a test\"\n[[test]]\nrun = \"true\"\n"
    );
    let (report, events) = rig.bake(rig.recipe_with("one", &allowed, &vars)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let told = story(&events);
    assert!(
        told.contains("/kept: a secret of this bake, allowed: a test"),
        "{told}"
    );
    rig.end().await;
}

/// The environment of a step on the machine, and of one here.
#[tokio::test(flavor = "multi_thread")]
async fn steps_here_and_there_know_what_they_are_a_part_of() {
    const NAMES: &str = "FORNO_IMAGE FORNO_BAKE FORNO_AMI_NAME FORNO_REGION FORNO_SOURCE_AMI FORNO_SOURCE_AMI_NAME FORNO_INSTANCE_ID";
    let rig = Rig::start().await;
    let say = format!("for name in {NAMES}; do eval \"echo $name=\\$$name\"; done");
    let recipe = format!(
        r#"
[[step]]
name = "there"
shell = {{ run = '{say}' }}
[[step]]
name = "here"
local = {{ run = ['{say}', 'pwd', 'echo $OWN'], env = {{ OWN = "own" }} }}
[[test]]
run = "true"
"#
    );
    let (report, _) = rig.bake(rig.recipe("one", &recipe)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let folder = rig.folder_of(&report);
    let log = |step: &str| {
        let step = forno_events::StepId::new(step);
        fs_err::read_to_string(folder.step_log(&step)).unwrap()
    };
    let there = log("step-01");
    let here = log("step-02");
    let own = format!("{}/images\nown\n", rig.path().display());
    assert_eq!(here, format!("{there}{own}"));
    for (name, value) in [
        ("FORNO_IMAGE", "one"),
        ("FORNO_BAKE", report.bake.as_str()),
        ("FORNO_AMI_NAME", report.image_name.as_deref().unwrap()),
        ("FORNO_REGION", rig.gateway.region()),
        ("FORNO_SOURCE_AMI", "ami-"),
        ("FORNO_SOURCE_AMI_NAME", "debian-12-"),
        ("FORNO_INSTANCE_ID", "i-"),
    ] {
        assert!(
            there.contains(&format!("{name}={value}")),
            "{name}: {there}"
        );
    }
    rig.end().await;
}

/// Of the builder and of the test machine; and not when somebody stops the bake.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_of_a_failed_machine_is_fetched_and_changes_nothing() {
    let rig = Rig::start().await;
    let recipe = |step: &str, test: &str| {
        format!(
            r#"
[[step]]
name = "work"
shell = {{ run = "echo seen > /tmp/there; {step}" }}
[[test]]
run = "echo tested > /tmp/there; {test}"
[[on_failure]]
name = "cannot be done"
shell = {{ run = "false" }}
[[on_failure]]
name = "bring it home"
file = {{ download = "/tmp/there", to = "brought" }}
"#
        )
    };
    let brought = rig.path().join("images/brought");
    for (step, test, exit, says) in [
        ("exit 7", "true", ExitCode::StepFailed, "seen\n"),
        ("true", "exit 7", ExitCode::CheckFailed, "tested\n"),
    ] {
        let (report, events) = rig.bake(rig.recipe("one", &recipe(step, test))).await;
        assert_eq!(report.exit_code(), exit, "{:?}", report.error);
        assert!(report.error.unwrap().to_string().contains('7'));
        let told = story(&events);
        let found = fs_err::read_to_string(&brought);
        assert_eq!(found.unwrap_or_else(|_| panic!("{told}")), says);
        assert_eq!(rig.left().await, [""; 0]);
        assert!(told.contains("cannot be done"), "{told}");
        fs_err::remove_file(&brought).unwrap();
    }
    let (report, events) = rig.bake(rig.recipe("one", &recipe("true", "true"))).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert!(!story(&events).contains("on-failure"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_disk_for_the_bake_is_a_cheap_one_in_the_image() {
    let rig = Rig::start().await;
    let recipe = r#"
disk = { type = "gp3" }
[builder]
disk = { size = "64GiB", iops = 16000, throughput = 1000 }
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;
    let (report, _) = rig.bake(rig.recipe("one", recipe)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let id = report.image_id.as_deref().unwrap();
    let told = rig.call(&[("Action", "DescribeImages"), ("ImageId.1", id)]);
    for part in [
        "<volumeSize>64</volumeSize>",
        "<volumeType>gp3</volumeType>",
        "<iops>3000</iops>",
        "<throughput>125</throughput>",
    ] {
        assert!(told.contains(part), "{told}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_have_tags_of_their_own_at_home_and_elsewhere() {
    let rig = Rig::start().await;
    let recipe = r#"
tags = { tier = "gold", team = "ci" }
snapshot_tags = { tier = "cold", Name = "disk of {{ bake.short_id }}" }
[publish]
regions = ["sa-east-1"]
[[test]]
run = "true"
"#;
    let (report, _) = rig.bake(rig.recipe("one", recipe)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let name = report.image_name.as_deref().unwrap();
    for there in [rig.gateway.clone(), rig.gateway.in_region("sa-east-1")] {
        let image = there.images_named(name).await.unwrap().remove(0);
        assert_eq!(image.tags.get("tier"), Some("gold"));
        assert_eq!(image.tags.get("Name"), Some(name));
        let of_bake = TagMatch::is("forno:bake", report.bake.as_str());
        let snapshots = there.snapshots_tagged(&[of_bake]).await.unwrap();
        let [snapshot] = &snapshots[..] else {
            panic!("{snapshots:?}")
        };
        let tag = |key| snapshot.tags.get(key);
        assert_eq!((tag("tier"), tag("team")), (Some("cold"), Some("ci")));
        let own = format!("disk of {}", report.bake.short());
        assert_eq!(tag("Name"), Some(own.as_str()));
    }
    rig.end().await;
}
