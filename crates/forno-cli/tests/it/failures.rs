//! Bakes that fail: the code says how, and nothing stays.

use crate::support::{Machine, Recipe, Sandbox};

/// Bakes it on a stub, expects the code, and that nothing is held afterwards.
#[track_caller]
fn fails(recipe: &Recipe, code: i32, words: &[&str]) {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(recipe);
    let endpoint = sandbox.serve();
    sandbox
        .run(&["bake", recipe.name(), "--local"])
        .code(code)
        .says(words);
    endpoint.holds_nothing();
    // What happened is remembered.
    assert_eq!(sandbox.bakes().len(), 1);
    sandbox.run(&["replay", "last"]).code(0).says(words);
}

#[test]
fn a_failing_step_ends_with_30() {
    fails(
        &Recipe::new("hello").shell("breaks", "echo about to break; exit 7"),
        30,
        &["breaks", "about to break", "7"],
    );
}

#[test]
fn a_failing_check_ends_with_31() {
    fails(
        &Recipe::new("hello")
            .shell("nothing", "true")
            .check("name = 'is not so'\ncommand = 'false'"),
        31,
        &["is not so"],
    );
}

#[test]
fn every_failing_check_is_told() {
    fails(
        &Recipe::new("hello")
            .check("name = 'first is not so'\ncommand = 'false'")
            .check("name = 'second is so'\ncommand = 'true'")
            .check("name = 'third is not so'\nfile = '/no/such/file'"),
        31,
        &["first is not so", "third is not so", "/no/such/file"],
    );
}

#[test]
fn a_failing_test_ends_with_31_and_takes_the_image_along() {
    fails(
        &Recipe::new("hello")
            .shell("nothing", "true")
            .test("name = 'proves wrong'\nrun = 'exit 3'"),
        31,
        &["proves wrong"],
    );
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    fails(
        &Recipe::new("hello")
            .step("name = 'hangs'\ntimeout = '2s'\nshell = { run = 'sleep 3600' }"),
        30,
        &["hangs"],
    );
}

#[test]
fn a_step_is_tried_again_and_then_good() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("hello").step(
        "name = 'second time'\nattempts = 3\npause = '1s'\nshell = { run = 'test -e once || { touch once; exit 1; }' }",
    ));
    let endpoint = sandbox.serve();
    let baked = sandbox
        .run(&["bake", "hello", "--local", "--output", "json"])
        .code(0);
    let retries = baked
        .json_lines()
        .iter()
        .filter(|event| event["body"]["event"] == "step-retry")
        .count();
    assert_eq!(retries, 1, "{baked}");
    endpoint.holds_only_images(1);
}

#[test]
fn a_step_may_fail_where_the_recipe_says_so() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(
        &Recipe::new("hello")
            .step("name = 'unimportant'\non_failure = 'continue'\nshell = { run = 'false' }")
            .shell("important", "true"),
    );
    let endpoint = sandbox.serve();
    sandbox
        .run(&["bake", "hello", "--local"])
        .code(0)
        .says(&["unimportant"]);
    endpoint.holds_only_images(1);
}

#[test]
fn of_several_bakes_one_may_fail() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("good").shell("good", "true"));
    sandbox.recipe(&Recipe::new("bad").shell("bad", "false"));
    let endpoint = sandbox.serve();
    sandbox.run(&["bake", "good", "bad", "--local"]).code(30);
    endpoint.holds_only_images(1);
}

#[test]
fn what_stands_on_a_failed_base_is_not_begun() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("base").shell("bad", "false"));
    sandbox.recipe(&Recipe::new("child").from("base").shell("good", "true"));
    let endpoint = sandbox.serve();
    sandbox
        .run(&["bake", "--all", "--local"])
        .code(30)
        .says(&["child"]);
    endpoint.holds_nothing();
    assert_eq!(sandbox.bakes().len(), 1);
}
