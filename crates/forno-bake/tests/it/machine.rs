//! A machine that goes away under a bake.

use forno_aws::TagMatch;
use forno_bake::{ErrorKind, ExitCode, RunOptions};
use forno_events::Event;

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
