//! A forno that is killed for good, and another that goes on with its bake.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Finished, Machine, Recipe, Sandbox};

/// A step that counts, slowly enough to be cut off in the middle.
fn counts() -> Recipe {
    Recipe::new("counts")
        .with("[vars]\nword = 'none'\ntoken = { secret = true, from = 'env:TOKEN' }")
        .shell("first", "echo first {{ vars.word }}")
        .shell(
            "count",
            "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done",
        )
        .shell("secret", "test $(printf %s {{ vars.token }} | wc -c) = 14")
        .test("run = 'sleep 1'")
}

const BAKE: [&str; 7] = [
    "bake",
    "counts",
    "--local",
    "--var",
    "word=given",
    "--var",
    "token=hush-hush-hush",
];

/// Bakes until it says so, and kills it.
fn killed(sandbox: &Sandbox, says: &str) {
    let bake = sandbox.start(&BAKE);
    bake.until_stderr(says);
    bake.signal(Signal::KILL);
    drop(bake);
    let state = sandbox.run(&["bakes", "--json"]).code(0).json();
    assert_eq!(state[0]["state"], "dead", "{state}");
}

fn resume(sandbox: &Sandbox, more: &[&str]) -> Finished {
    let mut arguments = vec!["resume", "counts", "--local"];
    arguments.extend(more);
    sandbox.run(&arguments)
}

const TOKEN: [&str; 2] = ["--var", "token=hush-hush-hush"];

fn lines(sandbox: &Sandbox, step: &str) -> Vec<String> {
    let log = sandbox.bakes()[0].join(format!("steps/{step}.log"));
    let text = fs_err::read_to_string(log).expect("its output");
    text.lines().map(str::to_owned).collect()
}

/// Nothing of the key or of the secret in any file of the bake.
fn holds_no_secret(sandbox: &Sandbox) {
    let mut folders = vec![sandbox.bakes()[0].clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // The agent's socket is no file to read.
            let Ok(bytes) = fs_err::read(&path) else {
                continue;
            };
            let text = String::from_utf8_lossy(&bytes);
            for secret in ["hush-hush-hush", "PRIVATE KEY"] {
                assert!(!text.contains(secret), "{secret} in {}", path.display());
            }
        }
    }
}

#[test]
fn a_step_that_was_cut_off_goes_on_without_a_line_lost_or_doubled() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&counts());
    let endpoint = sandbox.serve();
    killed(&sandbox, "line 12");
    holds_no_secret(&sandbox);
    let shown = sandbox.run(&["show"]).code(0);
    assert!(shown.stdout.contains("forno resume counts-"), "{shown}");

    // Without the secret nothing is done, and the bake is as it was.
    resume(&sandbox, &[]).code(10).says(&["token"]);
    let resumed = resume(&sandbox, &TOKEN).code(0);
    let told: Vec<String> = (0..40).map(|number| format!("line {number}")).collect();
    assert_eq!(lines(&sandbox, "step-02"), told, "{resumed}");
    assert_eq!(lines(&sandbox, "step-01"), ["first given"], "{resumed}");
    endpoint.holds_only_images(1);
    holds_no_secret(&sandbox);

    // As if nothing had happened.
    let replayed = sandbox.run(&["replay", "--output", "json"]).code(0);
    let events = replayed.json_lines();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["index"], index, "{event}");
    }
    let bakes = sandbox.run(&["bakes", "--json"]).code(0).json();
    assert_eq!(bakes[0]["state"], "done", "{bakes}");
    assert_eq!(bakes[0]["next"], Value::Null, "{bakes}");
    resume(&sandbox, &TOKEN).code(3).says(&["it made ami-"]);
}

#[test]
fn a_killed_bake_ends_in_one_image_wherever_it_was() {
    for says in [
        "stop the builder",
        "make the image",
        "start a machine",
        "mark the image",
    ] {
        let sandbox = Sandbox::new(Machine::Stub);
        sandbox.recipe(&Recipe::new("counts").with("[vars]\nword = ''\ntoken = { secret = true }"));
        let endpoint = sandbox.serve();
        killed(&sandbox, says);
        let resumed = resume(&sandbox, &TOKEN).code(0);
        endpoint.holds_only_images(1);
        let manifest = sandbox.manifest();
        assert!(
            resumed
                .stderr
                .contains(manifest["image_id"].as_str().unwrap()),
            "{resumed}"
        );
    }
}

/// Its machines ended with it; an endpoint that starts anew knows that.
#[test]
fn a_bake_on_an_endpoint_of_its_own_cannot_go_on_before_its_image() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&counts());
    killed(&sandbox, "line 3");
    resume(&sandbox, &TOKEN)
        .code(20)
        .says(&["cannot be taken up", "forno local serve"]);
    let bakes = sandbox.run(&["bakes", "--json"]).code(0).json();
    assert_eq!(bakes[0]["state"], "failed", "{bakes}");
    sandbox.serve().holds_nothing();
}

#[test]
fn somewhere_else_it_is_not_looked_for() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&counts());
    let endpoint = sandbox.serve();
    killed(&sandbox, "line 3");
    let left = endpoint.holds();
    sandbox
        .run(&["resume", "counts", TOKEN[0], TOKEN[1]])
        .code(11)
        .says(&["pocket EC2", "--local"]);
    resume(&sandbox, &[TOKEN[0], TOKEN[1], "--region", "eu-west-1"])
        .code(11)
        .says(&["was begun in us-east-1", "eu-west-1"]);
    assert_eq!(endpoint.holds(), left);
    sandbox.run(&["sweep", "--local"]).code(0);
    endpoint.holds_nothing();
    resume(&sandbox, &TOKEN).code(3).says(&["came to nothing"]);
}
