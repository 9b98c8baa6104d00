//! The examples do what they say: all of them are baked, on real machines.

use std::path::Path;

use crate::support::{Machine, Running, Sandbox};

#[test]
fn every_example_bakes() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    // One of them brings a file home: not into the repository.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let copy = sandbox.path().join("examples");
    copy_tree(&here, &copy);
    let recipes = fs_err::read_dir(&copy)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy()
                .starts_with(|c: char| c.is_ascii_digit())
        })
        .count();
    assert!(recipes >= 6, "{recipes} examples");

    let endpoint = sandbox.serve();
    let directory = copy.to_str().expect("a temporary folder has a plain name");
    let mut command = sandbox.forno(&["-C", directory, "bake", "--all", "--local"]);
    command.env("DEPLOY_TOKEN", "a token that nobody guesses");
    let baked = Running::start(command).finish().code(0);
    // One has a second volume.
    endpoint.holds_only_images_on(recipes, recipes + 1);
    assert!(
        !baked.stderr.contains("a token that nobody guesses"),
        "{baked}"
    );
    let brought = fs_err::read_to_string(copy.join("08-download/out/packages.txt")).unwrap();
    assert!(brought.contains("openssh-server"), "{brought}");
}

fn copy_tree(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}
