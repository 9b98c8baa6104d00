//! Many bakes at once, in one process and in many, against an endpoint that
//! throttles: all come to their image, none sees anything of another.
//!
//! What they cost is printed: calls and memory per bake.

use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::support::{Endpoint, Machine, Recipe, Running, Sandbox};

/// A bucket with less in it than so many bakes ask for, however slow they are: each
/// makes its first calls side by side.
fn throttle(bakes: usize) -> String {
    let rate = (6 * bakes).min(60);
    format!("[[throttle]]\naction = 'ec2:*'\nburst = 2\nrate = {rate}\n")
}

fn crowd(bakes: usize) -> (Sandbox, Endpoint) {
    let sandbox = Sandbox::new(Machine::Stub);
    for number in 0..bakes {
        sandbox.recipe(&Recipe::new(&format!("one-{number}")).shell("say", "echo hello"));
    }
    sandbox.file("faults.toml", &throttle(bakes));
    let endpoint = sandbox.serve_with(&["--faults", "faults.toml"]);
    (sandbox, endpoint)
}

/// The calls that the endpoint has answered, as it tells whoever signs for it.
fn calls(endpoint: &Endpoint) -> Vec<Value> {
    let variables = endpoint.variables();
    let user = format!(
        "{}:{}",
        variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
    );
    let asked = Command::new("curl")
        .args(["--silent", "--fail", "--user", &user, "--aws-sigv4"])
        .arg(format!("aws:amz:{}:forno", variables["AWS_REGION"]))
        .arg(format!("{}/_forno/calls", endpoint.url()))
        .output()
        .expect("curl runs");
    assert!(asked.status.success(), "{asked:?}");
    let told: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    told["calls"].as_array().expect("calls").clone()
}

/// `FORNO_CROWD=100` makes them so many in one process, and a fifth of that in
/// processes of their own.
fn bakes() -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    let wanted = std::env::var("FORNO_CROWD").ok();
    wanted.map_or(10, |number| {
        number.parse().expect("FORNO_CROWD is a number")
    })
}

/// Past the test harness, which would swallow it.
fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn tell(what: &str, bakes: usize, calls: &[Value], begun: Instant, peak_kib: usize) {
    let throttled = calls
        .iter()
        .filter(|call| call["code"] == "RequestLimitExceeded")
        .count();
    let looks = calls
        .iter()
        .filter(|call| {
            call["action"]
                .as_str()
                .is_some_and(|action| action.starts_with("Describe"))
        })
        .count();
    let per_bake = |number: usize| number.div_ceil(bakes);
    print(&format!(
        "{bakes} bakes {what}: {:.1} s, {} calls per bake ({} of them looks), {throttled} throttled, \
         {} MiB at most, {} KiB per bake",
        begun.elapsed().as_secs_f64(),
        per_bake(calls.len() - throttled),
        per_bake(looks),
        peak_kib / 1024,
        per_bake(peak_kib),
    ));
    assert!(throttled > 0, "nothing was throttled");
}

#[test]
fn many_bakes_in_one_process_all_come_to_their_image() {
    let bakes = bakes();
    let (sandbox, endpoint) = crowd(bakes);
    let begun = Instant::now();
    let bake = sandbox.start(&[
        "bake",
        "--all",
        "--local",
        "--parallel",
        "100",
        "--output",
        "quiet",
    ]);
    let (finished, peak) = bake.finish_watched();
    let made = finished.code(0);
    assert_eq!(made.stdout.lines().count(), bakes, "{made}");
    tell("in one process", bakes, &calls(&endpoint), begun, peak);
    endpoint.holds_only_images(bakes);
}

#[test]
fn many_processes_at_once_all_come_to_their_image() {
    let bakes = bakes().div_ceil(5);
    let (sandbox, endpoint) = crowd(bakes);
    let begun = Instant::now();
    let running: Vec<Running> = (0..bakes)
        .map(|number| sandbox.start(&["bake", &format!("one-{number}"), "--local"]))
        .collect();
    let mut peaks = 0;
    for bake in running {
        let (finished, peak) = bake.finish_watched();
        finished.code(0);
        peaks += peak;
    }
    tell("in a process each", bakes, &calls(&endpoint), begun, peaks);
    endpoint.holds_only_images(bakes);
}
