//! `forno validate`: everything that is wrong at once, for people and programs.

use predicates::prelude::*;
use predicates::str::contains;

use crate::{forno, repository, text};

const GOOD: &str = r#"
schema = 1

[image]
name = "hello"

[source]
ami = "ami-0123456789abcdef0"

[vars]
token = { from = "env:HELLO_TOKEN", secret = true }

[builder]
instance_types = ["t3.small"]

[[step]]
name  = "greeting"
shell = { run = "true", env = { TOKEN = "{{ vars.token }}" } }
"#;

const BAD: &str = r#"schema = 1

[image]
nam = "bad"

[builder]
instance_types = "t3.small"

[[step]]
name  = "greeting"
shell = { script = "missing.sh" }
"#;

#[test]
fn a_good_recipe_is_good_without_its_secrets_unless_strict() {
    let home = repository(&[("images/hello.toml", GOOD)]);
    forno(home.path())
        .arg("validate")
        .assert()
        .success()
        .stdout("")
        .stderr("ok hello\n");
    forno(home.path())
        .args(["validate", "--json"])
        .assert()
        .success()
        .stdout("[]\n")
        .stderr("");
    forno(home.path())
        .args(["validate", "--strict"])
        .assert()
        .code(10)
        .stderr(contains("token"));
    forno(home.path())
        .env("HELLO_TOKEN", "a-secret-of-some-length")
        .args(["validate", "--strict"])
        .assert()
        .success();
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let home = repository(&[("images/bad.toml", BAD), ("images/hello.toml", GOOD)]);
    let output = forno(home.path())
        .arg("validate")
        .assert()
        .code(10)
        .stdout("")
        .get_output()
        .stderr
        .clone();
    insta::assert_snapshot!("validate-problems", text(&output));
}

#[test]
fn problems_for_programs_have_places() {
    let home = repository(&[("images/bad.toml", BAD)]);
    let output = forno(home.path())
        .args(["validate", "--json"])
        .assert()
        .code(10)
        .stderr("")
        .get_output()
        .stdout
        .clone();
    let problems: Vec<serde_json::Value> = serde_json::from_slice(&output).expect("JSON");
    assert!(problems.len() >= 2, "{problems:?}");
    let place = &problems[0];
    assert_eq!(place["line"], 4, "{place}");
    assert!(
        place["file"]
            .as_str()
            .expect("a file")
            .ends_with("images/bad.toml")
    );
    assert!(
        place["message"]
            .as_str()
            .expect("a message")
            .contains("nam")
    );
}

#[test]
fn recipes_in_a_circle_are_refused() {
    let recipe = |name: &str, from: &str| {
        format!(
            "schema = 1\n[image]\nname = \"{name}\"\nfrom = \"{from}\"\n\
             [builder]\ninstance_types = [\"t3.small\"]\n\
             [[step]]\nname = \"s\"\nshell = {{ run = \"true\" }}\n"
        )
    };
    let home = repository(&[
        ("images/a.toml", &recipe("a", "b")),
        ("images/b.toml", &recipe("b", "a")),
    ]);
    forno(home.path())
        .arg("validate")
        .assert()
        .code(10)
        .stderr(contains("circle").and(contains("a").and(contains("b"))));
}

#[test]
fn a_repository_without_recipes_says_where_they_would_be() {
    let home = repository(&[]);
    forno(home.path())
        .arg("validate")
        .assert()
        .code(2)
        .stderr(contains("no recipes in").and(contains("hint: ").and(contains("images/"))));
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let home = repository(&[("images/hello.toml", GOOD)]);
    forno(home.path())
        .args(["validate", "helo"])
        .assert()
        .code(10)
        .stderr(contains("helo").and(contains("hello")));
}
