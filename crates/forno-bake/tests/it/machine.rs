//! A machine that goes away under a bake.

use forno_aws::TagMatch;
use forno_bake::{ErrorKind, ExitCode, RunOptions};
use forno_events::Event;
use forno_local::{Fault, FaultPlan, Then};

use crate::rig::{Rig, in_time, only, rest, story, until};

const SLEEPER: &str = r#"
[[step]]
name = "sleep"
shell = { run = "sleep 3600" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_terminated_is_noticed_with_its_reason() {
    let rig = Rig::start().await;
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let gateway = rig.gateway.clone();
    let killer = tokio::spawn(async move {
        until(
            &mut events,
            |event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == "step-01"),
        )
        .await;
        let found = gateway
            .instances_tagged(&[TagMatch::is("forno:step", "builder")])
            .await
            .unwrap();
        let [builder] = found.as_slice() else {
            panic!("{found:?}")
        };
        gateway
            .terminate_instance(&builder.id, false)
            .await
            .unwrap();
        rest(events).await
    });
    let recipe = rig.recipe("one", SLEEPER);
    let report = in_time(engine.bake(vec![recipe], RunOptions::default())).await;
    engine.close();
    let report = only(report.unwrap());
    let told = story(&killer.await.unwrap());
    let error = report.error.as_ref().unwrap();
    assert!(
        matches!(error.kind, ErrorKind::MachineGone { .. }),
        "{error}\n{told}"
    );
    assert!(
        error.to_string().contains("Client.UserInitiatedShutdown"),
        "{error}"
    );
    assert_eq!(error.exit_code(), ExitCode::StepFailed);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_shuts_itself_down_is_noticed() {
    let rig = Rig::start().await;
    let recipe = rig.recipe(
        "one",
        r#"
[[step]]
name = "off"
shell = { run = "systemctl poweroff" }
[[step]]
name = "sleep"
shell = { run = "sleep 3600" }
"#,
    );
    let (report, events) = rig.bake(recipe).await;
    let error = report.error.as_ref().unwrap();
    assert!(
        matches!(error.kind, ErrorKind::MachineGone { .. }),
        "{error}\n{}",
        story(&events)
    );
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

/// Whose restart is asked for is taken back by EC2 instead.
fn interrupt(rig: &Rig) {
    let gone = Then::InstanceTerminated("Server.SpotInstanceShutdown".to_owned());
    let plan = FaultPlan::of([Fault::of("RebootInstances").every().then(gone)]);
    rig.endpoint().set_faults(plan);
}

/// Ends the machine of this role each time a step begins, so many times.
async fn bake_losing(
    rig: &Rig,
    role: &'static str,
    at: &'static str,
    times: usize,
    text: &str,
) -> (forno_bake::BakeReport, Vec<forno_events::Envelope>) {
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let gateway = rig.gateway.clone();
    let killer = tokio::spawn(async move {
        let mut told = Vec::new();
        for _ in 0..times {
            until(
                &mut events,
                |event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == at),
            )
            .await;
            let found = gateway
                .instances_tagged(&[TagMatch::is("forno:step", role)])
                .await
                .unwrap();
            let alive = found.iter().find(|one| !one.state.is_ending()).unwrap();
            gateway.reboot_instance(&alive.id).await.unwrap();
        }
        told.extend(rest(events).await);
        told
    });
    let recipe = rig.recipe("one", text);
    let report = in_time(engine.bake(vec![recipe], RunOptions::default())).await;
    engine.close();
    (only(report.unwrap()), killer.await.unwrap())
}

const TESTED: &str = r#"
[builder]
instance_types = ["t3.small", "t3.micro"]
[[step]]
name = "wait for a file"
shell = { run = "echo begun; test -e going || { touch going; sleep 1; }" }
[[test]]
run = "sleep 1"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_ec2_takes_back_is_followed_by_another_elsewhere() {
    let rig = Rig::start().await;
    interrupt(&rig);
    let (report, _) = bake_losing(&rig, "builder", "step-01", 1, TESTED).await;
    let events = rig.folder_of(&report).events().unwrap();
    let told = story(&events);
    assert!(report.error.is_none(), "{report:?}\n{told}");
    insta::assert_snapshot!(masked(&told));
    let ledger = rig.folder_of(&report).ledger().unwrap();
    let launches: Vec<(&str, &str)> = ledger
        .fold
        .effects()
        .iter()
        .filter(|effect| effect.id.as_str().starts_with("builder."))
        .map(|effect| {
            let told = |name: &str| effect.intent[name].as_str().unwrap();
            (told("subnet"), told("client_token"))
        })
        .collect();
    assert_eq!(launches.len(), 2);
    assert_ne!(launches[0].0, launches[1].0);
    assert_ne!(launches[0].1, launches[1].1);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_machine_that_ec2_takes_back_is_followed_by_another() {
    let rig = Rig::start().await;
    interrupt(&rig);
    let (report, _) = bake_losing(&rig, "test-machine", "test-01", 2, TESTED).await;
    let told = story(&rig.folder_of(&report).events().unwrap());
    assert!(report.error.is_none(), "{report:?}\n{told}");
    assert_eq!(told.matches("test-01 starts (1)").count(), 3, "{told}");
    assert_eq!(told.matches("step-01 starts (1)").count(), 1, "{told}");
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_lost_machines_end_the_bake() {
    let rig = Rig::start().await;
    interrupt(&rig);
    let (report, _) = bake_losing(&rig, "builder", "step-01", 4, TESTED).await;
    let told = story(&rig.folder_of(&report).events().unwrap());
    let error = report.error.as_ref().expect("no machine stays");
    assert!(
        error.to_string().contains("Server.SpotInstanceShutdown"),
        "{error}\n{told}"
    );
    assert!(error.hint().unwrap().starts_with("4 machines"), "{error:?}");
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

/// The disk that the image is made from must not go away under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_ends_while_the_image_is_made_fails_it_with_the_reason() {
    let rig = Rig::start().await;
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let gateway = rig.gateway.clone();
    let killer = tokio::spawn(async move {
        until(
            &mut events,
            |event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == "stop"),
        )
        .await;
        let found = gateway
            .instances_tagged(&[TagMatch::is("forno:step", "builder")])
            .await
            .unwrap();
        gateway
            .terminate_instance(&found[0].id, true)
            .await
            .unwrap();
    });
    let recipe = rig.recipe("one", "\n");
    let report = in_time(engine.bake(vec![recipe], RunOptions::default())).await;
    engine.close();
    killer.await.unwrap();
    let report = only(report.unwrap());
    let error = report.error.as_ref().expect("nothing to make it from");
    assert!(
        error.to_string().contains("Client.UserInitiatedShutdown"),
        "{error}"
    );
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

/// Without what differs from run to run: ids, and how far its end was when it was seen.
fn masked(told: &str) -> String {
    let word = |word: &str| match word {
        "shutting-down:" | "terminated:" => "ending:".to_owned(),
        id if id.starts_with("i-") => "i-…".to_owned(),
        other => other.to_owned(),
    };
    told.lines()
        .filter(|line| !line.starts_with(['+', '-']) && !line.contains(" | "))
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}
