//! Ctrl-C and worse, in the middle of a step.

use rustix::process::Signal;

use crate::support::{Machine, Recipe, Sandbox};

fn slow() -> Recipe {
    Recipe::new("slow").shell("long", "echo begun; sleep 3600")
}

/// Whoever runs the tests under `nohup` has forno ignore it too.
fn hangup_is_ignored() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").expect("of this process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.expect("the kernel tells").trim();
    u64::from_str_radix(ignored, 16).expect("a mask") & 1 == 1
}

#[test]
fn one_ctrl_c_takes_everything_down_and_ends_with_130() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if signal == Signal::HUP && hangup_is_ignored() {
            continue;
        }
        let sandbox = Sandbox::new(Machine::Stub);
        sandbox.recipe(&slow());
        let endpoint = sandbox.serve();
        let bake = sandbox.start(&["bake", "slow", "--local"]);
        bake.until_stderr("begun");
        assert_ne!(endpoint.census(), [].into());
        bake.signal(signal);
        bake.finish().code(130);
        endpoint.holds_nothing();
    }
}

/// As `timeout` does it, to the process and to its group.
#[test]
fn the_echo_of_a_signal_does_not_hurry_the_teardown() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&slow());
    let endpoint = sandbox.serve();
    let bake = sandbox.start(&["bake", "slow", "--local"]);
    bake.until_stderr("begun");
    bake.signal(Signal::TERM);
    bake.signal(Signal::INT);
    let ended = bake.finish().code(130);
    assert!(!ended.stderr.contains("waiting for none"), "{ended}");
    endpoint.holds_nothing();
}

#[test]
fn a_sweep_takes_down_what_a_killed_bake_left() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&slow());
    let endpoint = sandbox.serve();
    let bake = sandbox.start(&["bake", "slow", "--local"]);
    bake.until_stderr("begun");
    // Alive, it is nobody's business.
    let swept = sandbox.run(&["sweep", "--local", "--json"]).code(0).json();
    assert_eq!(swept, serde_json::json!([]));
    bake.signal(Signal::KILL);
    drop(bake);
    let left = endpoint.census();
    assert_ne!(left, [].into());

    let dry = sandbox.run(&["sweep", "--local", "--dry-run"]).code(0);
    assert!(dry.stdout.contains("to be removed"), "{dry}");
    assert_eq!(endpoint.census(), left);

    // The others are empty, and what lies in this one is told once.
    let all = ["sweep", "--local", "--all-regions", "--json"];
    let swept = sandbox.run(&all).code(0).json();
    let kinds: Vec<_> = swept.as_array().into_iter().flatten().collect();
    assert_eq!(kinds.len(), 3, "{swept}");
    assert!(
        kinds.iter().all(|found| found["fate"] == "removed"),
        "{swept}"
    );
    endpoint.holds_nothing();
    let bakes = sandbox.run(&["bakes", "--json"]).code(0).json();
    assert_eq!(bakes[0]["state"], "swept", "{bakes}");
}

#[test]
fn a_region_that_cannot_be_looked_at_stops_no_other() {
    let sandbox = Sandbox::new(Machine::Stub);
    let _endpoint = sandbox.serve();
    let regions = ["--region", "us-east-1", "--region", "eu-north-1"];
    let swept = sandbox
        .run(&[&["sweep", "--local", "--json"][..], &regions].concat())
        .code(11);
    let found = swept.json();
    assert_eq!(found[0]["fate"], "not-looked-at", "{swept}");
    assert_eq!(found[0]["region"], "eu-north-1", "{swept}");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{swept}");
}

#[test]
fn after_a_killed_bake_the_state_folder_can_be_used_again() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&slow());
    sandbox.recipe(&Recipe::new("quick").shell("quick", "true"));
    let bake = sandbox.start(&["bake", "slow", "--local"]);
    bake.until_stderr("begun");
    bake.signal(Signal::KILL);
    drop(bake);
    sandbox.run(&["bake", "quick", "--local"]).code(0);
    let bakes = sandbox.run(&["bakes", "--json"]).code(0).json();
    assert_eq!(bakes.as_array().map(Vec::len), Some(2), "{bakes}");
}

/// With an endpoint that does not answer, each signal has to do what it says.
#[test]
fn the_second_signal_waits_for_nothing_and_the_third_says_where_the_ledger_lies() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&slow());
    let endpoint = sandbox.serve();
    let bake = sandbox.start(&["bake", "slow", "--local"]);
    bake.until_stderr("begun");
    endpoint.signal(Signal::STOP);
    for said in [
        "stopping and removing what was made",
        "waiting for none",
        "leaving everything as it is",
    ] {
        bake.signal(Signal::INT);
        bake.until_stderr(said);
        // What follows at once would be an echo.
        std::thread::park_timeout(std::time::Duration::from_millis(300));
    }
    let ended = bake.finish();
    endpoint.signal(Signal::CONT);
    let ledgers = sandbox.home().join("bakes");
    ended
        .code(50)
        .says(&[ledgers.to_str().expect("a plain name")]);
    sandbox.run(&["sweep", "--local"]).code(0);
    endpoint.holds_nothing();
}
