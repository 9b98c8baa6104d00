//! A role and an instance profile for the machines of one bake.

use forno_aws::{NewRole, Tags};
use forno_bake::{ExitCode, RunOptions, SweepOptions};
use forno_local::{Fault, FaultPlan, InjectedError};
use forno_recipe::Connect;

use crate::rig::{Rig, in_time, story};

const RECIPE: &str = r#"
[builder.temporary_profile]
policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}'
policy_arns = ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]
permissions_boundary = "arn:aws:iam::aws:policy/PowerUserAccess"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;

/// How often an action was asked for.
fn asked(rig: &Rig, action: &str) -> usize {
    let calls = rig.endpoint().calls();
    let real = calls
        .iter()
        .filter(|call| call.code.as_deref() != Some("DryRunOperation"));
    real.filter(|call| call.action == action).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_made_before_the_first_machine_and_gone_after_the_last() {
    let rig = Rig::start().await;
    let recipe = rig.recipe("one", RECIPE);
    let engine = rig.engine();
    let plans = engine
        .plan(std::slice::from_ref(&recipe), RunOptions::default())
        .await;
    let plan = plans.unwrap().remove(0);
    assert!(
        plan.steps
            .iter()
            .any(|step| step.id.as_str() == "instance-profile")
    );
    assert_eq!(asked(&rig, "CreateRole"), 0);
    // EC2 does not know the profile everywhere at once.
    let unknown = Fault::of("RunInstances").calls([1, 2]);
    let unknown = unknown.refusal(InjectedError {
        message: "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
            .to_owned(),
        ..InjectedError::new("InvalidParameterValue")
    });
    rig.endpoint().set_faults(FaultPlan::of([unknown]));
    let (report, events) = rig.bake(recipe).await;
    let told = story(&events);
    assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
    let calls: Vec<String> = rig
        .endpoint()
        .calls()
        .into_iter()
        .filter(|call| call.code.as_deref() != Some("DryRunOperation"))
        .map(|call| call.action)
        .collect();
    let at = |name: &str| calls.iter().position(|call| call == name).unwrap();
    let order = [
        "CreateRole",
        "PutRolePolicy",
        "AttachRolePolicy",
        "CreateInstanceProfile",
        "AddRoleToInstanceProfile",
        "RunInstances",
        "DeleteInstanceProfile",
        "DeleteRole",
    ];
    assert!(order.map(at).is_sorted(), "{calls:?}");
    let shown = rig.call(&[("Action", "DescribeInstances")]);
    let ulid = report
        .bake
        .as_str()
        .rsplit_once('-')
        .unwrap()
        .1
        .to_lowercase();
    let profile = format!(":instance-profile/forno/forno-{ulid}</arn>");
    assert_eq!(shown.matches(&profile).count(), 2, "{shown}");
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_agent_is_the_way_it_may_speak() {
    let mut rig = Rig::start().await;
    rig.settings.connect = Some(Connect::SshOverSsm);
    let bare = RECIPE.replace("policy_arns", "# policy_arns");
    let (report, events) = rig.bake(rig.recipe("one", &bare)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    // The recipe names no managed policy: this is that of the agent.
    assert_eq!(asked(&rig, "AttachRolePolicy"), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_them_makes_nothing() {
    let rig = Rig::start().await;
    for action in ["CreateRole", "PutRolePolicy", "AddRoleToInstanceProfile"] {
        let denied = Fault::of(action).every().error("AccessDenied");
        rig.endpoint().set_faults(FaultPlan::of([denied]));
        let (report, _) = rig.bake(rig.recipe("one", RECIPE)).await;
        let error = report.error.unwrap().to_string();
        assert!(
            error.contains(action) && error.contains("AccessDenied"),
            "{error}"
        );
        assert_eq!(rig.left().await, [""; 0], "{action}");
        assert_eq!(asked(&rig, "RunInstances"), 0, "{action}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_remembers_is_found_by_its_path_and_tags() {
    let rig = Rig::start().await;
    let tags = |expires: &str| {
        Tags::new()
            .with("forno:bake", "one-01m8eq9yy6smvzm4skd71ekbx7")
            .with("forno:image", "one")
            .with("forno:step", "role")
            .with("forno:expires", expires)
    };
    let make = async |name: &str, tags: &Tags| {
        let role = NewRole {
            name: name.to_owned(),
            path: "/forno/".to_owned(),
            description: "forgotten".to_owned(),
            permissions_boundary: None,
            tags: tags.clone(),
        };
        rig.gateway.create_role(&role).await.unwrap();
        let arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
        rig.gateway.attach_role_policy(name, arn).await.unwrap();
        rig.gateway
            .create_instance_profile(name, "/forno/", tags)
            .await
            .unwrap();
        rig.gateway
            .add_role_to_instance_profile(name, name)
            .await
            .unwrap();
    };
    make("forno-over", &tags("2025-01-01T00:00:00Z")).await;
    make("forno-living", &tags("2099-01-01T00:00:00Z")).await;
    make("somebody-else-s", &Tags::new().with("team", "x")).await;
    let swept = in_time(rig.engine().sweep(SweepOptions::default(), &|_| {})).await;
    assert_eq!(swept.unwrap().exit_code(), ExitCode::Done);
    let left = ["forno-living", "somebody-else-s"];
    let left: Vec<String> = ["instance-profile", "role"]
        .iter()
        .flat_map(|kind| left.map(|name| format!("{kind} {name}")))
        .collect();
    assert_eq!(rig.left().await, left);
    rig.end().await;
}
