//! What a recipe says of the builder: how it is bought, where it stands, on what.

use forno_bake::{ExitCode, RunOptions};
use forno_local::{Fault, FaultPlan};

use crate::rig::{Rig, story};

const REST: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;

fn with(builder: &str) -> String {
    format!("\n[builder]\n{builder}{REST}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_instance_becomes_an_image_without_being_stopped() {
    let rig = Rig::start().await;
    let text = with("market = [\"spot\", \"on-demand\"]\nspot_max_price = \"0.05\"\n");
    let (report, events) = rig.bake(rig.recipe("one", &text)).await;
    let told = story(&events);
    assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
    assert!(told.contains("stop ends: Skipped"), "{told}");
    let actions: Vec<String> = rig
        .endpoint()
        .calls()
        .into_iter()
        .map(|call| call.action)
        .collect();
    assert!(!actions.iter().any(|action| action == "StopInstances"));
    // The test machine is one too.
    let requests = rig.call(&[("Action", "DescribeSpotInstanceRequests")]);
    assert_eq!(
        requests.matches("<state>closed</state>").count(),
        2,
        "{requests}"
    );
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_spot_capacity_every_type_is_tried_before_one_is_paid_in_full() {
    for code in [
        "InsufficientInstanceCapacity",
        "MaxSpotInstanceCountExceeded",
    ] {
        let rig = Rig::start().await;
        rig.endpoint()
            .set_faults(FaultPlan::of([Fault::of("RunInstances")
                .with("InstanceMarketOptions.MarketType", "spot")
                .every()
                .error(code)]));
        let subnet = rig.subnet("*a");
        let text = with(&format!(
            "market = [\"spot\", \"on-demand\"]\ninstance_types = [\"t3.small\", \"t3.micro\"]\nsubnet_ids = [\"{subnet}\"]\n"
        ));
        let (report, events) = rig.bake(rig.recipe("one", &text)).await;
        let told = story(&events);
        assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
        let refused: Vec<&str> = told
            .lines()
            .filter(|line| line.contains("not to be had"))
            .collect();
        let by = |kind: &str| format!("note: not to be had: {kind} in us-east-1a (spot): {code}");
        // The test machine begins anew: capacity may be back.
        let both = [by("t3.small"), by("t3.micro")];
        assert_eq!(refused, [both.clone(), both].concat(), "{told}");
        let machines = rig.call(&[("Action", "DescribeInstances")]);
        assert_eq!(
            machines
                .matches("<instanceType>t3.small</instanceType>")
                .count(),
            2
        );
        assert!(!machines.contains("instanceLifecycle"), "{machines}");
        assert!(told.contains("stop ends: Ok"), "{told}");
        rig.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subnets_and_groups_are_found_by_what_they_are_like() {
    let rig = Rig::start().await;
    let text = with(
        "vpc_filters = { is-default = \"true\" }\nsubnet_filters = { availability-zone = \"*b\" }\nsecurity_group_filters = { group-name = \"default\" }\n",
    );
    let (report, events) = rig.bake(rig.recipe("one", &text)).await;
    let told = story(&events);
    assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
    let calls = rig.endpoint().calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.action == "CreateSecurityGroup")
    );
    let machines = rig.call(&[
        ("Action", "DescribeInstances"),
        ("Filter.1.Name", "availability-zone"),
        ("Filter.1.Value.1", "*b"),
    ]);
    assert_eq!(machines.matches("<instanceId>").count(), 2, "{machines}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_like_nothing_is_told_before_anything_is_made() {
    let rig = Rig::start().await;
    for (builder, words) in [
        (
            "subnet_filters = { \"tag:tier\" = [\"build\", \"bake\"] }\n",
            "matches builder.subnet_filters (tag:tier: build or bake)",
        ),
        (
            "vpc_filters = { is-default = \"false\" }\n",
            "0 VPCs in us-east-1 match builder.vpc_filters (is-default: false)",
        ),
        (
            "security_group_filters = { group-name = \"nobody\" }\n",
            "matches builder.security_group_filters (group-name: nobody)",
        ),
    ] {
        let recipe = rig.recipe("one", &with(builder));
        let engine = rig.engine();
        let error = engine
            .plan(&[recipe], RunOptions::default())
            .await
            .expect_err("nothing is found");
        assert_eq!(error.exit_code(), ExitCode::Preflight, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hardware_is_as_the_recipe_says() {
    let rig = Rig::start().await;
    let text = with(
        "instance_types = [\"t3.small\"]\n[builder.machine]\ncpu_credits = \"unlimited\"\ntenancy = \"dedicated\"\nnitro_enclaves = true\ncapacity_reservation = \"none\"\n",
    );
    let (report, events) = rig.bake(rig.recipe("one", &text)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    let told = rig.call(&[("Action", "DescribeInstances")]);
    for part in [
        "<tenancy>dedicated</tenancy>",
        "<enclaveOptions><enabled>true</enabled></enclaveOptions>",
        "<capacityReservationPreference>none</capacityReservationPreference>",
    ] {
        assert_eq!(told.matches(part).count(), 2, "{part} in {told}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_data_that_would_not_fit_is_told_before_anything_is_made() {
    let rig = Rig::start().await;
    let long = "#".repeat(15 * 1024);
    let recipe = rig.recipe("one", &with(&format!("user_data = \"{long}\"\n")));
    let error = rig
        .engine()
        .plan(&[recipe], RunOptions::default())
        .await
        .expect_err("it is too long");
    assert_eq!(error.exit_code(), ExitCode::RecipeInvalid, "{error}");
    assert!(
        error
            .to_string()
            .contains("builder.user_data is too long by"),
        "{error}"
    );
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_is_reached_by_a_program_that_knows_the_way() {
    let rig = Rig::start().await;
    // bash is everywhere; it shows that the machine was reached by no other way.
    let mark = rig.path().join("passed");
    let script = format!(
        "echo %h %p >> {}; exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3; wait",
        mark.display()
    );
    let text = with(&format!(
        "address = \"public\"\ningress_cidrs = [\"10.0.1.0/24\", \"0.0.0.0/0\"]\nproxy_command = [\"bash\", \"-c\", \"{script}\"]\n"
    ));
    let (report, events) = rig.bake(rig.recipe("one", &text)).await;
    let told = story(&events);
    assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
    assert!(
        told.contains("open to 0.0.0.0/0, which is everybody"),
        "{told}"
    );
    // The builder and the test machine.
    let passed = fs_err::read_to_string(&mark).unwrap();
    assert!(passed.lines().count() >= 2, "{passed}");
    assert!(
        passed.lines().all(|line| line.starts_with("127.")),
        "{passed}"
    );
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_key_of_its_own_is_shared_and_copied_with_another() {
    let rig = Rig::start().await;
    let text = with(
        "instance_profile = \"baker\"\ndisk = { kms_key_id = \"alias/images\" }\n[publish]\naccounts = [\"111122223333\"]\nregions = [\"eu-west-1\"]\nkms_key_ids = { eu-west-1 = \"alias/copies\" }\n",
    );
    let (report, events) = rig.bake(rig.recipe("one", &text)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{}", story(&events));
    let machines = rig.call(&[("Action", "DescribeInstances")]);
    assert_eq!(
        machines.matches(":instance-profile/baker").count(),
        2,
        "{machines}"
    );
    let key = |told: &str| {
        let (_, rest) = told.split_once("<kmsKeyId>").expect(told);
        rest.split_once('<').unwrap().0.to_owned()
    };
    let here = key(&rig.call(&[("Action", "DescribeSnapshots"), ("Owner.1", "self")]));
    let there = rig.call_in(
        "eu-west-1",
        &[("Action", "DescribeSnapshots"), ("Owner.1", "self")],
    );
    assert!(here.starts_with("arn:aws:kms:us-east-1:"), "{here}");
    assert!(key(&there).starts_with("arn:aws:kms:eu-west-1:"), "{there}");
    rig.end().await;
}
