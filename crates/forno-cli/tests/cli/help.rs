//! What `--help` says is part of the product, so that it changes only on purpose.

use crate::{folder, forno, text};

#[test]
fn help_of_every_command() {
    let home = folder();
    for path in [
        "",
        "bake",
        "resume",
        "plan",
        "validate",
        "images",
        "bakes",
        "show",
        "replay",
        "shell",
        "tunnel",
        "sweep",
        "local",
        "local serve",
        "local doctor",
        "local reset",
        "schema",
        "completions",
    ] {
        let output = forno(home.path())
            .args(path.split_whitespace())
            .arg("--help")
            .assert()
            .success()
            .stderr("")
            .get_output()
            .stdout
            .clone();
        let name = format!("help-{}", path.replace(' ', "-"));
        insta::assert_snapshot!(name.trim_end_matches('-'), text(&output));
    }
}

#[test]
fn version_is_one_line() {
    let home = folder();
    forno(home.path())
        .arg("--version")
        .assert()
        .success()
        .stdout(format!("forno {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_exist_for_every_shell_and_know_the_commands() {
    let home = folder();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = forno(home.path())
            .args(["completions", shell])
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        let script = text(&output);
        for word in ["bake", "replay", "on-failure", "doctor"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn the_schema_is_one_and_names_the_parts_of_a_recipe() {
    let home = folder();
    let output = forno(home.path()).arg("schema").assert().success();
    let schema: serde_json::Value =
        serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    for part in ["image", "source", "builder", "step", "check", "test"] {
        assert!(schema["properties"][part].is_object(), "{part}");
    }
}
