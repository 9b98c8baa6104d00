//! Things that somebody else has to do with: they are told, and nothing else
//! waits for them.

use forno_aws::{NewSecurityGroup, TagMatch};
use forno_bake::ExitCode;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_name_that_is_taken_is_told_before_anything_is_made() {
    let rig = Rig::start().await;
    let text = "ami_name = \"always the same\"\n";
    let (report, _) = rig.bake(rig.recipe("one", text)).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let recipe = rig.recipe("one", text);
    let (report, events) = rig
        .run(vec![recipe], forno_bake::RunOptions::default())
        .await;
    assert_eq!(report.exit_code(), ExitCode::Preflight);
    assert!(events.is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_others_are_used_and_left_alone() {
    let rig = Rig::start().await;
    let vpc = rig.gateway.default_vpc().await.unwrap().unwrap();
    let group = rig
        .gateway
        .create_security_group(&NewSecurityGroup {
            name: "ours".into(),
            description: "of somebody else".into(),
            vpc,
            tags: forno_aws::Tags::new().with("owner", "somebody"),
        })
        .await
        .unwrap();
    let recipe = rig.recipe(
        "one",
        &format!("\n[builder]\nsecurity_group_ids = [\"{group}\"]\n"),
    );
    let (report, _) = rig.bake(recipe).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let still = rig
        .gateway
        .security_groups_tagged(&[TagMatch::is("owner", "somebody")])
        .await
        .unwrap();
    assert_eq!(still.len(), 1);
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}
