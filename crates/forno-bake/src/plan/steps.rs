//! The steps of a bake, announced before the first begins so that a renderer
//! can draw them all.

use forno_events::{StepId, StepInfo};
use forno_recipe::{Bucket, Connect, Recipe};

use crate::Goal;

/// The identifiers of steps, in the order of a bake.
pub(crate) mod ids {
    use forno_events::StepId;

    macro_rules! fixed {
        ($($name:ident = $id:literal;)*) => {
            $(pub(crate) fn $name() -> StepId { StepId::new($id) })*
        };
    }

    fixed! {
        key_pair = "key-pair";
        security_group = "security-group";
        bucket = "bucket";
        profile = "instance-profile";
        builder = "builder";
        connect = "connect";
        inventory = "inventory";
        seal = "seal";
        stop = "stop";
        image = "image";
        prover = "test-machine";
        prover_connect = "test-connect";
        finish = "finish";
        publish = "publish";
        teardown = "teardown";
    }

    pub(crate) fn step(index: usize) -> StepId {
        StepId::new(format!("step-{:02}", index + 1))
    }

    pub(crate) fn on_failure(index: usize) -> StepId {
        StepId::new(format!("on-failure-{:02}", index + 1))
    }

    pub(crate) fn check(index: usize) -> StepId {
        StepId::new(format!("check-{:02}", index + 1))
    }

    pub(crate) fn test(index: usize) -> StepId {
        StepId::new(format!("test-{:02}", index + 1))
    }
}

/// All steps of baking `recipe`.
pub(super) fn announce(
    recipe: &Recipe,
    goal: Goal,
    connect: Connect,
    makes_group: bool,
) -> Vec<StepInfo> {
    let mut steps = Vec::new();
    let mut add = |id: StepId, name: &str, phase: &str| {
        steps.push(StepInfo {
            id,
            name: name.to_owned(),
            phase: phase.to_owned(),
        });
    };
    if connect != Connect::Ssm {
        add(ids::key_pair(), "import the key", "key");
    }
    if makes_group {
        add(ids::security_group(), "make the security group", "network");
    }
    if connect == Connect::Ssm && recipe.builder.bucket == Bucket::Temporary {
        add(ids::bucket(), "make the bucket", "network");
    }
    if recipe.builder.temporary_profile.is_some() {
        add(ids::profile(), "make the instance profile", "network");
    }
    add(ids::builder(), "launch the builder", "builder");
    add(
        ids::connect(),
        "connect and wait until it is ready",
        "connect",
    );
    for (index, step) in recipe.steps.iter().enumerate() {
        add(ids::step(index), &step.name, "provision");
    }
    for (index, check) in recipe.checks.iter().enumerate() {
        add(ids::check(index), &check.name, "check");
    }
    add(ids::inventory(), "list the packages", "check");
    add(ids::seal(), "forget what must not be in the image", "seal");
    if goal == Goal::Image {
        add(ids::stop(), "stop the builder", "capture");
        add(ids::image(), "make the image", "capture");
        add(ids::prover(), "start a machine from the image", "prove");
        add(
            ids::prover_connect(),
            "connect and wait until it is ready",
            "prove",
        );
        for (index, test) in recipe.tests.iter().enumerate() {
            add(ids::test(index), &test.name, "prove");
        }
        add(ids::finish(), "mark the image as finished", "prove");
        if !recipe.publish.is_empty() {
            add(ids::publish(), "publish the image", "publish");
        }
    }
    add(ids::teardown(), "remove everything temporary", "teardown");
    steps
}
