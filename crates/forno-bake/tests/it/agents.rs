//! Machines that are reached through Systems Manager: nothing is opened for them,
//! whatever a recipe does, and nothing stays of what carried it.

use std::time::Duration;

use forno_aws::Tags;
use forno_bake::{Bakes, ExitCode, RunOptions, SweepOptions};
use forno_events::{Event, StepId};
use forno_local::{Fault, FaultPlan, Then};
use forno_recipe::Connect;

use crate::rig::{Rig, story, until};

/// Every kind of step that a stub can do, and a secret by every way that there is.
const RECIPE: &str = r#"
[vars]
token = { from = "env:TOKEN", secret = true }
[builder]
connect = "ssm"
[[step]]
name = "say"
shell = { run = "echo hello; echo beside >&2; test \"$TOKEN\" = s3cr3t/t0k3n+of+fr1day", env = { TOKEN = "{{ vars.token }}" } }
[[step]]
name = "much"
shell = { run = "seq 1 200000" }
[[step]]
name = "its own kind of end"
shell = { run = "exit 7", valid_exit_codes = [7] }
[[check]]
command = "true"
[[test]]
run = "echo proven"
"#;

const TOKEN: [(&str, &str); 1] = [("token", "s3cr3t/t0k3n+of+fr1day")];

impl Rig {
    /// How often each of these was called with success.
    fn called(&self, actions: &[&str]) -> Vec<usize> {
        let calls = self.endpoint().calls();
        let of = |action: &&str| {
            let such = calls.iter().filter(|call| call.action == *action);
            // Neither dry runs nor what was refused.
            such.filter(|call| call.code.is_none()).count()
        };
        actions.iter().map(of).collect()
    }
}

/// As `seq` says them.
fn numbers(last: u32) -> String {
    let lines: Vec<String> = (1..=last).map(|number| number.to_string()).collect();
    lines.join("\n") + "\n"
}

const OPENING: [&str; 3] = [
    "AuthorizeSecurityGroupIngress",
    "ImportKeyPair",
    "CreateKeyPair",
];

#[tokio::test(flavor = "multi_thread")]
async fn by_run_command_there_is_neither_a_rule_nor_a_key() {
    let rig = Rig::start().await;
    let recipe = rig.recipe_with("one", RECIPE, &TOKEN);
    let (report, events) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.called(&OPENING), [0, 0, 0]);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    let told = story(&events);
    for expected in ["+ bucket", "- bucket"] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
    let said = |step: &str| {
        let log = rig.folder_of(&report).step_log(&StepId::new(step));
        fs_err::read_to_string(log).unwrap()
    };
    let mut first: Vec<String> = said("step-01").lines().map(str::to_owned).collect();
    first.sort();
    assert_eq!(first, ["beside", "hello"]);
    assert!(said("step-02") == numbers(200_000));
    assert_eq!(said("test-01"), "proven\n");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_through_a_session_needs_no_rule() {
    let mut rig = Rig::start().await;
    // Whatever the recipe says.
    rig.settings.connect = Some(Connect::SshOverSsm);
    let recipe = rig.recipe_with("one", RECIPE, &TOKEN);
    let (report, events) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.called(&OPENING), [0, 2, 0]);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    assert!(!story(&events).contains("bucket"));
    // Whatever was opened was ended, and not left to its time.
    let [opened, ended] = rig.called(&["StartSession", "TerminateSession"])[..] else {
        unreachable!()
    };
    assert!(opened >= 2 && ended == opened, "{opened} {ended}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_the_team_is_left_as_it_was() {
    let rig = Rig::start().await;
    let bucket = "team-artifacts";
    rig.gateway
        .create_bucket(bucket, &Tags::new())
        .await
        .unwrap();
    let theirs = bytes::Bytes::from_static(b"theirs");
    rig.gateway
        .put_object(bucket, "forno/theirs", theirs.clone())
        .await
        .unwrap();
    let text = RECIPE.replace(
        "connect = \"ssm\"",
        "connect = \"ssm\"\nssm = { bucket = \"team-artifacts\" }",
    );
    let (report, _) = rig.bake(rig.recipe_with("one", &text, &TOKEN)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    let kept = rig.gateway.get_object(bucket, "forno/theirs").await;
    assert_eq!(kept.unwrap(), theirs);
    rig.gateway
        .delete_objects(bucket, &["forno/theirs".to_owned()])
        .await
        .unwrap();
    let call = rig.gateway.delete_bucket(bucket).await;
    assert!(call.is_ok(), "{call:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bucket_small_things_go_and_secrets_do_not() {
    let rig = Rig::start().await;
    let plain = r#"
[builder]
connect = "ssm"
ssm = { files = "commands" }
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;
    let (report, _) = rig.bake(rig.recipe("one", plain)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.called(&["CreateBucket", "PutObject"]), [0, 0]);

    let secret = RECIPE.replace(
        "connect = \"ssm\"",
        "connect = \"ssm\"\nssm = { files = \"commands\" }",
    );
    let (report, _) = rig.bake(rig.recipe_with("two", &secret, &TOKEN)).await;
    let error = report.error.as_ref().unwrap();
    assert_eq!(error.exit_code(), ExitCode::StepFailed, "{error}");
    assert!(
        error.to_string().contains("without a bucket"),
        "{error} {:?}",
        error.hint()
    );
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_bake_leaves_its_bucket_to_a_sweep() {
    let rig = Rig::start().await;
    let recipe = rig.recipe_with("one", &RECIPE.replace("seq 1", "sleep 60; seq 1"), &TOKEN);
    let recipes = vec![recipe];
    let begun = |event: &Event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == "step-02");
    rig.until_killed(false, begun, async move |engine| {
        let _ = engine.bake(recipes, RunOptions::default()).await;
    })
    .await;
    let left = rig.left().await;
    assert!(
        left.iter().any(|thing| thing.starts_with("bucket ")),
        "{left:?}"
    );
    let swept = rig.engine().sweep(SweepOptions::default(), &|_| {}).await;
    assert_eq!(swept.unwrap().exit_code(), ExitCode::Done);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_whose_ledger_is_lost_goes_by_its_tags() {
    let rig = Rig::start().await;
    let recipe = rig.recipe_with("one", &RECIPE.replace("seq 1", "sleep 60; seq 1"), &TOKEN);
    let recipes = vec![recipe];
    let begun = |event: &Event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == "step-02");
    let folder = rig
        .until_killed(false, begun, async move |engine| {
            let _ = engine.bake(recipes, RunOptions::default()).await;
        })
        .await;
    // All but its beginning.
    let ledger = folder.path().join("ledger.jsonl");
    let whole = fs_err::read_to_string(&ledger).unwrap();
    let first: String = whole.split_inclusive('\n').take(1).collect();
    fs_err::write(&ledger, first).unwrap();
    let swept = rig.engine().sweep(SweepOptions::default(), &|_| {}).await;
    assert_eq!(swept.unwrap().exit_code(), ExitCode::Done);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_of_the_bucket_s_making_makes_no_second_and_leaves_none() {
    let rig = Rig::start().await;
    let lost = Fault::of("s3:CreateBucket").reset(forno_local::Moment::After);
    rig.endpoint().set_faults(FaultPlan::of([lost]));
    let recipe = rig.recipe_with("one", RECIPE, &TOKEN);
    let (report, _) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_by_run_command_is_taken_up_without_any_key() {
    let rig = Rig::start().await;
    let text = RECIPE.replace("seq 1 200000", "echo begun; sleep 3; seq 1 2000");
    let recipe = rig.recipe_with("one", &text, &TOKEN);
    let recipes = vec![recipe.clone()];
    let begun = |event: &Event| matches!(event, Event::Output { line, .. } if line == "begun");
    let folder = rig
        .until_killed(false, begun, async move |engine| {
            let _ = engine.bake(recipes, RunOptions::default()).await;
        })
        .await;
    let engine = rig.engine();
    let taken = forno_bake::Resumption::open(&folder).unwrap();
    let report = engine.resume(taken, Some(recipe)).await.unwrap();
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let log = folder.step_log(&StepId::new("step-02"));
    assert_eq!(
        rig.called(&OPENING),
        [0, 0, 0],
        "also in the second process"
    );
    assert_eq!(
        fs_err::read_to_string(log).unwrap(),
        format!("begun\n{}", numbers(2000))
    );
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_registers_is_told_with_what_may_be_missing() {
    let rig = Rig::start().await;
    let lost = Fault::of("RunInstances")
        .every()
        .then(Then::AgentLost(Duration::from_hours(1)));
    rig.endpoint().set_faults(FaultPlan::of([lost]));
    for connect in ["ssm", "ssh-over-ssm"] {
        let text = format!(
            "[builder]\nconnect = \"{connect}\"\ntimeouts = {{ connect = \"3s\" }}\n\
             [[test]]\nrun = \"true\"\n"
        );
        let (report, _) = rig.bake(rig.recipe("one", &text)).await;
        let error = report.error.as_ref().unwrap();
        assert_eq!(error.exit_code(), ExitCode::CannotConnect, "{error}");
        let hint = error.hint().unwrap_or_default();
        assert!(
            hint.contains("AmazonSSMManagedInstanceCore"),
            "{error}: {hint}"
        );
        assert_eq!(rig.left().await, [""; 0]);
    }
    rig.end().await;
}

/// What another process needs is on the disk while the machine is there, and holds
/// no secret.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_finds_its_way_in() {
    let rig = Rig::start().await;
    let text = RECIPE.replace("seq 1 200000", "echo begun; sleep 600");
    let recipes = vec![rig.recipe_with("one", &text, &TOKEN)];
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let baking = tokio::spawn({
        let engine = engine.clone();
        async move { engine.bake(recipes, RunOptions::default()).await }
    });
    let begun = until(
        &mut events,
        |event| matches!(event, Event::Output { line, .. } if line == "begun"),
    );
    let bake = begun.await.bake;
    let folder = Bakes::under(&rig.settings.home).folder(&bake);
    let connection = folder.connection().unwrap().unwrap();
    let forno_bake::ConnectionWay::Ssm { bucket } = &connection.way else {
        panic!("{connection:?}")
    };
    let never = tokio_util::sync::CancellationToken::new();
    let exit = forno_bake::agent_shell(
        rig.gateway.clone(),
        &connection,
        bucket.as_ref(),
        Some("exit 9".to_owned()),
        &never,
    );
    assert_eq!(exit.await.unwrap(), forno_link::Exit::Code(9));
    rig.ladder.climb("enough");
    let _ = baking.await.unwrap();
    assert!(folder.connection().unwrap().is_none());
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}
