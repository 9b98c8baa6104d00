//! What forno keeps is its user's alone, whatever the umask says.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Machine, Recipe, Sandbox};

#[test]
fn nobody_else_can_read_what_a_bake_and_its_endpoint_keep() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(
        &Recipe::new("hello")
            .shell("say", "echo hello")
            .test("run = 'true'"),
    );
    let plain = sandbox.forno(&["bake", "hello", "--local"]);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(sandbox.path())
        .env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    // A closed folder closes all that is in it.
    let home = sandbox.home();
    for folder in ["", "bakes", "local"] {
        assert_eq!(mode(&home.join(folder)) & 0o077, 0, "{folder}");
    }
    // And the files are closed themselves, should a folder ever be opened or
    // copied. What machines have of their own is theirs.
    let mut seen = Vec::new();
    let mut folders: Vec<PathBuf> = vec![home.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&home).unwrap().to_owned();
            let of_machines = ["local/machines", "local/host", "local/disks"]
                .iter()
                .any(|part| name.starts_with(part));
            if path.is_dir() && !of_machines {
                folders.push(path);
            } else if path.is_file() {
                assert_eq!(mode(&path) & 0o077, 0, "{}", name.display());
                seen.push(name.display().to_string());
            }
        }
    }
    for kept in [
        "ledger.jsonl",
        "events.jsonl",
        "step-01.log",
        "recipe.json",
        "manifest.json",
        "credentials.json",
        "state.json",
    ] {
        assert!(
            seen.iter().any(|name| name.ends_with(kept)),
            "{kept}: {seen:?}"
        );
    }
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}
