//! Wrong usage, odd surroundings: exit codes and what is said.

use std::io::Read;
use std::process::{Command as Plain, Stdio};

use predicates::prelude::*;
use predicates::str::contains;

use crate::{folder, forno, repository};

const HELLO: &str = r#"
schema = 1

[image]
name = "hello"

[source]
ami = "ami-0123456789abcdef0"

[builder]
instance_types = ["t3.small"]

[[step]]
name  = "greeting"
shell = { run = "true" }
"#;

#[test]
fn wrong_usage_is_told_with_code_2() {
    let home = folder();
    for (arguments, said) in [
        (&["bake"][..], "IMAGE"),
        (&["bake", "base", "--all"], "cannot be used with"),
        (&["bake", "base", "--var", "novalue"], "expected NAME=VALUE"),
        (&["bake", "base", "--parallel", "0"], "0 is not in 1..=256"),
        (&["bake", "base", "--output", "loud"], "possible values"),
        (
            &["bake", "base", "--local", "--profile", "p"],
            "cannot be used with",
        ),
        (&["replay", "--speed", "0"], "from 0.01 to 10000"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["show", "nothing"], "no bake `nothing`"),
        (&["replay"], "no bakes in"),
        (&["shell"], "no bakes in"),
        (&["bake", "base", "--orphan-after", "3s"], "at least 10s"),
        (
            &["sweep", "--all-regions", "--region", "eu-west-1"],
            "cannot be used with",
        ),
        (&["sweep", "--yes"], "--packer-leftovers"),
        (&["sweep", "--packer-leftovers"], "nobody can be asked here"),
    ] {
        forno(home.path())
            .args(arguments)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(said));
    }
}

#[test]
fn a_bad_plan_of_faults_or_pace_is_told_with_its_place() {
    let home = folder();
    let file = home.path().join("bad.toml");
    std::fs::write(
        &file,
        "[[fault]]\naction = \"CraeteImage\"\nhang = \"after\"\n",
    )
    .unwrap();
    for (arguments, said) in [
        (
            &["local", "serve", "--faults"][..],
            "bad.toml:2:10: no action is called `CraeteImage`; expected",
        ),
        (
            &["local", "serve", "--pace"],
            "bad.toml:1:3: unknown field `fault`, expected one of `pending`",
        ),
    ] {
        forno(home.path())
            .args(arguments)
            .arg(&file)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(said));
    }
    std::fs::write(home.path().join("hello.toml"), HELLO).unwrap();
    forno(home.path())
        .args(["bake", "hello.toml", "--pace", "ec2"])
        .assert()
        .code(2)
        .stderr(contains("--faults and --pace are for the pocket EC2").and(contains("--local")));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let home = folder();
    forno(home.path())
        .args(["-C", "nowhere", "schema"])
        .assert()
        .code(1)
        .stderr(contains("cannot go to nowhere"));
}

#[test]
fn without_any_home_it_says_what_to_set() {
    let home = folder();
    forno(home.path())
        .env_remove("HOME")
        .env_remove("FORNO_HOME")
        .arg("bakes")
        .assert()
        .code(1)
        .stderr(contains("neither FORNO_HOME nor HOME is set"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = folder();
    let mut child = Plain::new(assert_cmd::cargo::cargo_bin("forno"))
        .arg("schema")
        .env_clear()
        .env("HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("forno starts");
    // The pipe is closed before anything is read.
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!(said, "");
    assert!(status.success(), "{status}");
}

#[test]
fn colour_is_there_when_asked_for_and_only_then() {
    let home = repository(&[("images/bad.toml", "schema = 1\nnonsense = 2\n")]);
    let escape = "\u{1b}[";
    forno(home.path())
        .arg("validate")
        .assert()
        .code(10)
        .stderr(contains(escape).not());
    forno(home.path())
        .args(["--color", "always", "validate"])
        .assert()
        .code(10)
        .stderr(contains(escape));
    forno(home.path())
        .env("CLICOLOR_FORCE", "1")
        .arg("validate")
        .assert()
        .code(10)
        .stderr(contains(escape));
    forno(home.path())
        .env("CLICOLOR_FORCE", "1")
        .args(["--color", "never", "validate"])
        .assert()
        .code(10)
        .stderr(contains(escape).not());
}

#[test]
fn an_endpoint_that_does_not_answer_is_a_preflight_failure() {
    let home = repository(&[("images/hello.toml", HELLO)]);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let mut command = forno(home.path());
    command
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "an-example-secret-key")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
        .args(["plan", "hello", "--region", "eu-west-1", "-vvv"])
        .assert()
        .code(11)
        .stderr(contains("error:").and(contains("eu-west-1")))
        .stderr(contains("an-example-secret-key").not());
}

#[test]
fn resetting_asks_first_and_removes_only_its_own() {
    let home = folder();
    let local = home.path().join("forno/local");
    forno(home.path())
        .args(["local", "reset"])
        .assert()
        .success()
        .stderr(contains("nothing to remove"));
    fs_err::create_dir_all(&local).expect("a folder");
    fs_err::create_dir_all(home.path().join("forno/bakes")).expect("a folder");
    forno(home.path())
        .args(["local", "reset"])
        .assert()
        .code(2)
        .stderr(contains("--yes"));
    assert!(local.exists());
    forno(home.path())
        .args(["local", "reset", "--yes"])
        .assert()
        .success();
    assert!(!local.exists());
    assert!(home.path().join("forno/bakes").exists());
}
