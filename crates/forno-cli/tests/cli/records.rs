//! `bakes`, `show` and `replay` over a recorded bake.

use std::path::Path;

use forno_events::Envelope;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{folder, forno, text};

const BAKE: &str = "base-01kam3b0c4x2v7n8q9t5w6y1za";
const EVENTS: &str = include_str!("../../../forno-report/tests/fixtures/good.jsonl");

/// A home in which one bake is recorded, of which so many events are left.
fn recorded(events: usize) -> TempDir {
    let home = folder();
    let bake = home.path().join("forno/bakes").join(BAKE);
    fs_err::create_dir_all(&bake).expect("folders");
    let lines: Vec<_> = EVENTS.lines().take(events).collect();
    fs_err::write(bake.join("events.jsonl"), lines.join("\n") + "\n").expect("a file");
    home
}

fn envelopes(lines: &str) -> Vec<Envelope> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}

fn output(home: &Path, arguments: &[&str]) -> String {
    let assert = forno(home).args(arguments).assert().success();
    text(&assert.get_output().stdout)
}

#[test]
fn bakes_are_listed_for_people_and_programs() {
    let home = recorded(usize::MAX);
    let listed = output(home.path(), &["bakes"]);
    assert!(listed.starts_with("BAKE "), "{listed}");
    let line = listed.lines().nth(1).expect("a bake");
    for part in [
        BAKE,
        "done",
        "2025-11-22 08:26",
        "1m26s",
        "us-east-1",
        "ami-0d44",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let entries: Vec<serde_json::Value> =
        serde_json::from_str(&output(home.path(), &["bakes", "--json"])).expect("JSON");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["state"], "done");
    assert_eq!(entries[0]["elapsed_ms"], 86_010);
    assert_eq!(output(home.path(), &["bakes", "worker", "--json"]), "[]\n");
}

#[test]
fn a_bake_that_was_killed_is_dead() {
    let home = recorded(20);
    assert!(output(home.path(), &["bakes"]).contains(" dead "));
    let shown = output(home.path(), &["show"]);
    assert!(
        shown.contains("still there:\n  key-pair key-0a11 in us-east-1"),
        "{shown}"
    );
}

#[test]
fn a_bake_is_shown_with_its_steps() {
    let home = recorded(usize::MAX);
    let shown = output(home.path(), &["show", "base"]);
    let shown = shown.replace(&home.path().display().to_string(), "HOME");
    insta::assert_snapshot!("show", shown);
    forno(home.path())
        .args(["show", "--json"])
        .assert()
        .code(1)
        .stderr(contains("has no manifest"));
}

#[test]
fn a_replay_is_the_recording() {
    let home = recorded(usize::MAX);
    let json = output(home.path(), &["replay", "last", "--output", "json"]);
    assert_eq!(envelopes(&json), envelopes(EVENTS));
    forno(home.path())
        .args(["replay", BAKE])
        .assert()
        .success()
        .stdout("")
        .stderr(contains(
            "ok base: ami-0d44 base-20251122-082640 in us-east-1",
        ));
    forno(home.path())
        .args(["replay", "--output", "quiet"])
        .assert()
        .success()
        .stdout("base ami-0d44\n")
        .stderr("");
}

#[test]
fn a_replay_in_time_ends_like_one_at_once() {
    let home = recorded(usize::MAX);
    forno(home.path())
        .args(["replay", "--output", "plain", "--speed", "10000"])
        .assert()
        .success()
        .stderr(contains("ok base: ami-0d44"));
    forno(home.path())
        .args(["replay", "--output", "bars", "--speed", "10000"])
        .env("TERM", "xterm")
        .assert()
        .success()
        .stderr(contains("ami-0d44").and(contains("teardown")));
}

#[test]
fn there_is_no_shell_where_there_is_no_machine() {
    let home = recorded(usize::MAX);
    forno(home.path())
        .arg("shell")
        .assert()
        .code(21)
        .stderr(contains("has no machine").and(contains("--on-failure keep")));
}
