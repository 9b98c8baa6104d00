//! The policy of a recipe is enough for its bake, and no more than that: an endpoint that
//! allows nothing else lets it through, and what is left unused is only wanted in trouble.

use std::collections::BTreeSet;

use forno_bake::{ExitCode, Policy, PolicyScope, Resumption, RunOptions, SweepOptions};
use forno_events::Event;
use forno_local::{Actions, Fault, FaultPlan, ServiceName};
use forno_recipe::{Connect, Recipe};

use crate::rig::{Rig, in_time, story};

const RECIPE: &str = r#"
[builder]
market = ["spot", "on-demand"]
disk = { encrypted = false }
[[step]]
name = "say"
shell = { run = "echo hello" }
[[step]]
name = "file"
file = { from = "large", to = "/tmp/large" }
[[test]]
run = "true"
[publish]
regions = ["eu-west-1"]
accounts = ["111122223333"]
share_snapshots = true
deprecate_in = "30d"
deregistration_protection = "without-cooldown"
"#;

/// The same without Spot, and shared with nobody.
const PLAIN: &str = r#"
[[step]]
name = "file"
file = { from = "large", to = "/tmp/large" }
[[test]]
run = "true"
[publish]
imds_support = "v2.0"
"#;

/// The other way to an image.
const REGISTERED: &str = r#"
register = {}
[builder]
early_snapshots = true
disk = { encrypted = false }
[[step]]
name = "file"
file = { from = "large", to = "/tmp/large" }
[[test]]
run = "true"
[publish]
public_snapshots = true
"#;

/// Machines with a role of their own.
const PROFILED: &str = r#"
[builder.temporary_profile]
policy_arns = ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]
policy = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
[[step]]
name = "file"
file = { from = "large", to = "/tmp/large" }
[[test]]
run = "true"
"#;

/// What IAM calls an action of the API, where the names differ.
fn in_iam(service: ServiceName, action: &str) -> Option<String> {
    let of_s3 = match action {
        "ListBuckets" => "ListAllMyBuckets",
        "ListObjectsV2" => "ListBucket",
        "DeleteObjects" => "DeleteObject",
        "PutBucketLifecycleConfiguration" => "PutLifecycleConfiguration",
        "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => "PutObject",
        "HeadObject" => "GetObject",
        other => other,
    };
    match service {
        // Needs no permission.
        ServiceName::Sts => None,
        ServiceName::S3 => Some(format!("s3:{of_s3}")),
        _ => Some(format!("{}:{action}", service.name())),
    }
}

/// Everything else is refused, each service in its own words.
fn only(policy: &Policy) -> FaultPlan {
    let allowed = policy.actions();
    let refused = Actions::known().filter_map(|(service, action)| {
        let name = in_iam(service, action)?;
        (!allowed.contains(name.as_str())).then(|| {
            let code = match service {
                ServiceName::Ec2 => "UnauthorizedOperation",
                ServiceName::S3 => "AccessDenied",
                _ => "AccessDeniedException",
            };
            let fault = Fault::of(&format!("{}:{action}", service.name()));
            fault.every().error(code)
        })
    });
    FaultPlan::of(refused)
}

/// A rig whose machines are reached so, a recipe, and its policy, which the endpoint keeps.
async fn allowed(connect: Connect, text: &str) -> (Rig, Recipe, Policy) {
    let mut rig = Rig::start().await;
    rig.settings.connect = Some(connect);
    // More than fits into commands.
    fs_err::write(rig.path().join("images/large"), vec![b'x'; 1 << 20]).unwrap();
    let recipe = rig.recipe("one", text);
    let policy = Policy::of(
        std::slice::from_ref(&recipe),
        &PolicyScope {
            region: Some("us-east-1".to_owned()),
            connect: Some(connect),
        },
    );
    rig.endpoint().set_faults(only(&policy));
    (rig, recipe, policy)
}

/// The actions that were refused for want of a permission.
fn refused(rig: &Rig) -> Vec<String> {
    rig.endpoint()
        .calls()
        .into_iter()
        .filter(|call| {
            call.code.as_deref().is_some_and(|code| {
                code.starts_with("UnauthorizedOperation") || code.starts_with("AccessDenied")
            })
        })
        .map(|call| call.action)
        .collect()
}

async fn bake_with_only_that(connect: Connect, text: &str) -> BTreeSet<String> {
    let (rig, recipe, policy) = allowed(connect, text).await;
    let (report, events) = rig.bake(recipe).await;
    let told = story(&events);
    assert_eq!(report.exit_code(), ExitCode::Done, "{connect}: {told}");
    assert_eq!(refused(&rig), [""; 0], "{connect}");
    let calls = rig.endpoint().calls();
    let used: BTreeSet<String> = calls
        .iter()
        .filter_map(|call| in_iam(call.service, &call.action))
        .collect();
    rig.end().await;
    policy
        .actions()
        .into_iter()
        .filter(|action| !used.contains(*action))
        .map(str::to_owned)
        .collect()
}

/// Asked for when something went wrong, by a sweep, by IAM itself, or by a reboot step.
const IN_TROUBLE: [&str; 22] = [
    "ec2:CreateTags",
    "ec2:DeleteSnapshot",
    "ec2:DeregisterImage",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeSnapshots",
    "ec2:DescribeTags",
    "ec2:GetConsoleOutput",
    "ec2:RebootInstances",
    "iam:CreateServiceLinkedRole",
    "iam:ListInstanceProfiles",
    "iam:ListRoles",
    "iam:PassRole",
    "iam:TagInstanceProfile",
    "iam:TagRole",
    "s3:GetBucketTagging",
    "s3:ListAllMyBuckets",
    "s3:TagResource",
    "ssm:CancelCommand",
    "ssm:DescribeInstanceInformation",
    "ssm:ResumeSession",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bake_needs_what_its_policy_allows_and_nothing_else() {
    for connect in Connect::ALL {
        for text in [RECIPE, PLAIN, REGISTERED, PROFILED] {
            let unused = bake_with_only_that(connect, text).await;
            let for_nothing: Vec<&String> = unused
                .iter()
                .filter(|action| !IN_TROUBLE.contains(&action.as_str()))
                .filter(|action| !(text == RECIPE && *action == "ec2:StopInstances"))
                .collect();
            assert_eq!(for_nothing, [""; 0], "{connect}");
        }
    }
}

/// Killed on its machine, and then taken up, or taken down.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_enough_for_what_becomes_of_a_killed_bake() {
    for connect in Connect::ALL {
        for resume in [true, false] {
            let (rig, recipe, _) = allowed(connect, PLAIN).await;
            let (dies, at) = (recipe.clone(), "step-01");
            let begun = move |event: &Event| matches!(event, Event::StepStarted { step, .. } if step.as_str() == at);
            let folder = rig
                .until_killed(false, begun, async move |engine| {
                    let _ = engine.bake(vec![dies], RunOptions::default()).await;
                })
                .await;
            let engine = rig.engine();
            if resume {
                let taken = Resumption::open(&folder).unwrap();
                let resuming = Box::pin(engine.resume(taken, Some(recipe)));
                let report = in_time(resuming).await.unwrap();
                assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
            } else {
                let swept = in_time(engine.sweep(SweepOptions::default(), &|_| {})).await;
                assert_eq!(swept.unwrap().exit_code(), ExitCode::Done);
            }
            // A sweep asks for buckets and roles of whatever image, and goes on without where
            // these have none.
            let mut refused = refused(&rig);
            refused.retain(|action| {
                let of_bucket = action == "ListBuckets" && connect != Connect::Ssm;
                let of_role = ["ListInstanceProfiles", "ListRoles"].contains(&action.as_str());
                resume || !(of_bucket || of_role)
            });
            assert_eq!(refused, [""; 0], "{connect}, resume: {resume}");
            // Whoever looks now may see everything.
            rig.endpoint().set_faults(FaultPlan::of([]));
            let stays: &[&str] = if resume {
                &["finished image", "finished snapshot"]
            } else {
                &[]
            };
            assert_eq!(rig.left().await, stays, "{connect}, resume: {resume}");
            rig.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bake_without_one_of_them_does_not_come_about() {
    let rig = Rig::start().await;
    fs_err::write(rig.path().join("images/large"), "small").unwrap();
    let recipe = rig.recipe("one", PLAIN);
    rig.endpoint()
        .set_faults(FaultPlan::of([Fault::of("ec2:CreateImage")
            .every()
            .error("UnauthorizedOperation")]));
    let (report, _) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Capture, "{:?}", report.error);
    assert_eq!(rig.left().await, [""; 0]);
    // What EC2 told in code is read out.
    let error = report.error.unwrap();
    assert!(error.full().contains("failure message: …"), "{error}");
    let hint = error.hint().unwrap();
    let whole =
        "arn:aws:iam::123456789012:user/forno may not ec2:CreateImage on arn:aws:ec2:us-east-1:";
    assert!(hint.starts_with(whole), "{hint}");
    assert!(hint.contains("aws:RequestTag/forno:image = one"), "{hint}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_may_not_be_read_out_is_handed_on() {
    let rig = Rig::start().await;
    fs_err::write(rig.path().join("images/large"), "small").unwrap();
    let recipe = rig.recipe("one", PLAIN);
    rig.endpoint().set_faults(FaultPlan::of([
        Fault::of("ec2:RunInstances")
            .with("DryRun", "true")
            .every()
            .error("UnauthorizedOperation"),
        Fault::of("sts:DecodeAuthorizationMessage")
            .every()
            .error("AccessDenied"),
    ]));
    let planned = rig.engine().plan(&[recipe], RunOptions::default()).await;
    let error = planned.expect_err("not allowed");
    assert_eq!(error.exit_code(), ExitCode::Preflight, "{error}");
    assert!(error.full().contains("failure message: …"), "{error}");
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("DecodeAuthorizationMessage in us-east-1 failed: AccessDenied"),
        "{hint}"
    );
    let (_, code) = hint.split_once("--encoded-message ").unwrap();
    assert!(code.split('`').next().unwrap().len() > 100, "{hint}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_make_roles_makes_none_beyond_its_boundary() {
    let rig = Rig::start().await;
    fs_err::write(rig.path().join("images/large"), "small").unwrap();
    let grants = |text: &str| {
        let recipe = rig.recipe("one", text);
        let scope = PolicyScope {
            region: None,
            connect: None,
        };
        let policy = Policy::of(std::slice::from_ref(&recipe), &scope);
        let written = serde_json::to_value(&policy).unwrap();
        let all = written["Statement"].as_array().unwrap().clone();
        let mut all = all.into_iter();
        all.find(|one| one["Sid"] == "GrantOwnRoles").unwrap()
    };
    let arn = "arn:aws:iam::111122223333:policy/bakers";
    let with = format!("[builder.temporary_profile]\npermissions_boundary = \"{arn}\"");
    let bounded = grants(&PROFILED.replace("[builder.temporary_profile]", &with));
    let condition = bounded["Condition"].to_string();
    assert!(
        condition.contains("iam:PermissionsBoundary") && condition.contains(arn),
        "{bounded}"
    );
    let own = "arn:aws:iam::*:role/forno/forno-*";
    assert!(bounded["Resource"].to_string().contains(own), "{bounded}");
    assert!(!grants(PROFILED).to_string().contains("PermissionsBoundary"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_written_as_iam_reads_it() {
    let rig = Rig::start().await;
    fs_err::write(rig.path().join("images/large"), "small").unwrap();
    let recipe = rig.recipe("one", RECIPE);
    let scope = PolicyScope {
        region: Some("us-east-1".to_owned()),
        connect: None,
    };
    let policy = Policy::of(std::slice::from_ref(&recipe), &scope);
    insta::assert_snapshot!(serde_json::to_string_pretty(&policy).unwrap());
    assert!(policy.length() < forno_bake::MOST_OF_A_MANAGED_POLICY);
    // Sids are letters and digits, and no two are the same.
    let written = serde_json::to_value(&policy).unwrap();
    let sids: Vec<&str> = written["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement["Sid"].as_str().unwrap())
        .collect();
    assert!(
        sids.iter()
            .all(|sid| sid.chars().all(char::is_alphanumeric))
    );
    assert_eq!(sids.iter().collect::<BTreeSet<_>>().len(), sids.len());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_china_the_partition_is_another_and_keys_are_named() {
    let rig = Rig::start().await;
    let text = "\n[builder]\nconnect = \"ssm\"\ninstance_profile = \"baker\"\nssm = { bucket = \"files\" }\ndisk = { kms_key_id = \"alias/images\" }\n[[step]]\nname = \"say\"\nshell = { run = \"true\" }\n[publish]\nregions = [\"cn-northwest-1\"]\nkms_key_ids = { cn-northwest-1 = \"arn:aws-cn:kms:cn-northwest-1:111122223333:key/1\" }\n";
    let recipe = rig.recipe("one", text);
    let scope = PolicyScope {
        region: Some("cn-north-1".to_owned()),
        connect: None,
    };
    let policy = Policy::of(std::slice::from_ref(&recipe), &scope);
    let text = serde_json::to_string_pretty(&policy).unwrap();
    assert!(!text.contains("arn:aws:"), "{text}");
    insta::assert_snapshot!(text);
    rig.end().await;
}
