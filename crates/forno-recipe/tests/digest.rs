//! The digest sees every change that matters, and no other.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use common::{Fixture, HEAD, environment};
use forno_recipe::{Digest, Inputs, digest};
use proptest::prelude::*;

const TABLES: &str = r#"
[vars]
colour = "brown"
count = 3
token = { from = "env:TOKEN", secret = true }

[builder]
disk = { size = "16GiB" }

[[step]]
shell = { script = "../provision/setup.sh", env = { TOKEN = "{{ vars.token }}" } }

[[step]]
file = { from = "../provision/tree", to = "/opt/tree" }

[[step]]
file = { from = "../provision/one.txt", to = "/opt/one.txt", template = true }

[[step]]
ansible = { playbook = "../ansible/site.yml", requirements = "../provision/requirements.yml", roles_path = ["../roles"] }

[[check]]
file = "/opt/tree"

[prove]
user_data_file = "../provision/user-data.yaml"

[[test]]
run = "true"
"#;

fn fixture() -> Fixture {
    Fixture::below_head(TABLES)
        .file("forno.toml", "[tags]\nteam = \"one\"\n")
        .file("provision/setup.sh", "#!/bin/sh\ntrue\n")
        .file("provision/tree/a", "a")
        .file("provision/tree/sub/b", "b")
        .file("provision/one.txt", "{{ vars.colour }}")
        .file("provision/requirements.yml", "[]")
        .file("provision/user-data.yaml", "#cloud-config\n")
        .file("ansible/site.yml", "[]")
        .file("ansible/group_vars/all.yml", "x: 1")
        .file("ansible/roles/r/tasks/main.yml", "[]")
        .file("roles/shared/tasks/main.yml", "[]")
}

fn given() -> Inputs {
    environment(&[("TOKEN", "hunter2-hunter2")])
}

fn digest_with(fixture: &Fixture, inputs: &Inputs) -> Digest {
    digest(&fixture.load_with("worker", inputs).unwrap(), "ami-1").unwrap()
}

fn digest_of(fixture: &Fixture) -> Digest {
    digest_with(fixture, &given())
}

/// The parts that a change of the fixture changes.
fn changes(change: impl FnOnce(&Fixture)) -> Vec<String> {
    let fixture = fixture();
    let before = digest_of(&fixture);
    change(&fixture);
    let after = digest_of(&fixture);
    let changed = after.changes_since(&before);
    assert_eq!(changed.is_empty(), before.whole == after.whole);
    changed
}

/// A change of `images/worker.toml`, or of `forno.toml`.
fn rewritten(from: &str, to: &str) -> Vec<String> {
    changes(|fixture| {
        for path in ["images/worker.toml", "forno.toml"] {
            let text = std::fs::read_to_string(fixture.path(path)).unwrap();
            fixture.write(path, &text.replace(from, to));
        }
    })
}

#[test]
fn what_the_parts_are() {
    let names: Vec<String> = digest_of(&fixture()).parts.into_keys().collect();
    insta::assert_snapshot!(names.join("\n"));
}

#[test]
fn the_recipe_counts_wherever_it_stands() {
    for (from, to) in [
        ("16GiB", "17GiB"),
        ("/opt/one.txt", "/opt/two.txt"),
        ("file = \"/opt/tree\"", "file = \"/opt/trees\""),
        ("run = \"true\"", "run = \"false\""),
        (
            "name = \"worker\"",
            "name = \"worker\"\ndescription = \"x\"",
        ),
        ("team = \"one\"", "team = \"two\""),
    ] {
        assert_eq!(rewritten(from, to), ["recipe"], "{from}");
    }
}

#[test]
fn variables_count_one_by_one() {
    assert_eq!(rewritten("count = 3", "count = 4"), ["var count"]);
    // The type alone is a difference: a template can tell.
    assert_eq!(rewritten("count = 3", "count = \"3\""), ["var count"]);
    assert_eq!(rewritten("count = 3", "count = 3\nmore = 1"), ["var more"]);
    // The file that uses it has not changed; what is sent has.
    assert_eq!(
        rewritten("\"brown\"", "\"green\""),
        ["recipe", "var colour"]
    );
}

#[test]
fn secrets_count_and_depend_on_the_key() {
    let fixture = fixture();
    let before = digest_of(&fixture);
    let other = digest_with(&fixture, &environment(&[("TOKEN", "hunter3-hunter3")]));
    assert_eq!(other.changes_since(&before), ["var token"]);
    let keyed = |key: &str| {
        let inputs = Inputs {
            digest_key: Some(key.into()),
            ..given()
        };
        digest_with(&fixture, &inputs)
    };
    assert_eq!(keyed("one").changes_since(&before), ["var token"]);
    assert_eq!(keyed("one"), keyed("one"));
    assert_eq!(keyed("one").changes_since(&keyed("two")), ["var token"]);
}

#[test]
fn what_the_seal_keeps_and_allows_counts() {
    let of = |seal: &str| digest_of(&Fixture::below_head(seal));
    let none = of("");
    // A recipe from before there was such a table is not baked anew.
    assert_eq!(of("[seal]\nkeep = []\n"), none);
    let logs = of("[seal]\nkeep = [\"logs\", \"histories\"]\n");
    assert_eq!(logs.changes_since(&none), ["recipe"]);
    assert_eq!(of("[seal]\nkeep = [\"histories\", \"logs\"]\n"), logs);
    let allow = of("[[seal.allow]]\npath = \"/srv/*.key\"\nreason = \"test data\"\n");
    assert_eq!(allow.changes_since(&none), ["recipe"]);
}

#[test]
fn files_count_with_contents_and_modes() {
    let files = [
        ("provision/setup.sh", "file ../provision/setup.sh"),
        ("provision/tree/a", "file ../provision/tree/"),
        ("provision/tree/sub/b", "file ../provision/tree/"),
        (
            "provision/requirements.yml",
            "file ../provision/requirements.yml",
        ),
        (
            "provision/user-data.yaml",
            "file ../provision/user-data.yaml",
        ),
        ("ansible/group_vars/all.yml", "file ../ansible/**"),
        ("ansible/roles/r/tasks/main.yml", "file ../ansible/**"),
        ("roles/shared/tasks/main.yml", "file ../roles/**"),
    ];
    for (path, part) in files {
        assert_eq!(
            changes(|fixture| fixture.write(path, "changed")),
            [part],
            "{path}"
        );
        assert_eq!(
            changes(|fixture| fixture.mode(path, 0o700)),
            [part],
            "{path}"
        );
    }
    assert_eq!(
        changes(|fixture| fixture.write("ansible/site.yml", "changed")),
        ["file ../ansible/**", "file ../ansible/site.yml"]
    );
    assert_eq!(
        changes(|fixture| fixture.write("ansible/files/new", "")),
        ["file ../ansible/**"]
    );
    assert_eq!(
        changes(|fixture| std::fs::rename(
            fixture.path("provision/tree/a"),
            fixture.path("provision/tree/c")
        )
        .unwrap()),
        ["file ../provision/tree/"]
    );
    assert_eq!(
        changes(|fixture| std::fs::create_dir(fixture.path("provision/tree/empty")).unwrap()),
        ["file ../provision/tree/"]
    );
}

#[test]
fn links_are_uploaded_as_links_and_read_as_what_they_lead_to() {
    use std::os::unix::fs::symlink;
    let fixture = fixture().file("elsewhere/role.yml", "1");
    symlink("a", fixture.path("provision/tree/link")).unwrap();
    symlink("../elsewhere", fixture.path("ansible/linked")).unwrap();
    symlink("nowhere", fixture.path("ansible/broken")).unwrap();
    symlink(".", fixture.path("ansible/loop")).unwrap();
    let before = digest_of(&fixture);
    fixture.write("elsewhere/role.yml", "2");
    let after = digest_of(&fixture);
    assert_eq!(after.changes_since(&before), ["file ../ansible/**"]);
    std::fs::remove_file(fixture.path("provision/tree/link")).unwrap();
    symlink("b", fixture.path("provision/tree/link")).unwrap();
    assert_eq!(
        digest_of(&fixture).changes_since(&after),
        ["file ../provision/tree/"]
    );
}

#[test]
fn what_ansible_leaves_behind_and_what_is_ignored_does_not_count() {
    let nothing: [String; 0] = [];
    let fixture = fixture()
        .file(".gitignore", "*.log\n/ansible/galaxy/\n")
        .file("ansible/.gitignore", ".venv/\n")
        .file("ansible/roles/.fornoignore", "README.md\n");
    let before = digest_of(&fixture);
    for path in [
        "ansible/site.retry",
        "ansible/run.log",
        "ansible/galaxy/role/main.yml",
        "ansible/.venv/bin/python",
        "ansible/.git/HEAD",
        "ansible/roles/README.md",
        "ansible/library/__pycache__/x.pyc",
    ] {
        fixture.write(path, "noise");
        let changed = digest_of(&fixture).changes_since(&before);
        // A folder that came with it counts, what is in it does not.
        if path.contains("library") {
            fixture.write("ansible/library/__pycache__/y.pyc", "more noise");
            assert_eq!(digest_of(&fixture).changes_since(&before), changed);
        } else {
            assert_eq!(changed, nothing, "{path}");
        }
    }
    fixture.write("ansible/.hidden.yml", "counts");
    assert_eq!(
        digest_of(&fixture).changes_since(&before),
        ["file ../ansible/**"]
    );
    // An upload is an upload: nothing is left out.
    let before = digest_of(&fixture);
    fixture.write("provision/tree/x.log", "");
    assert_eq!(
        digest_of(&fixture).changes_since(&before),
        ["file ../provision/tree/"]
    );
}

#[test]
fn ignore_files_above_the_project_do_not_matter() {
    let inside = |outer: &str| {
        let fixture = Fixture::new().file(".gitignore", outer);
        let copy = self::fixture();
        copy_tree(copy.root(), &fixture.path("checkout"));
        let project = forno_recipe::Project::find(&fixture.path("checkout")).unwrap();
        digest(
            &forno_recipe::load(&project, "worker", &given()).unwrap(),
            "ami-1",
        )
        .unwrap()
    };
    assert_eq!(inside("*.yml\n"), inside(""));
}

#[test]
fn the_source_and_nothing_else() {
    let fixture = fixture();
    let recipe = fixture.load_with("worker", &given()).unwrap();
    let one = digest(&recipe, "ami-1").unwrap();
    assert_eq!(
        digest(&recipe, "ami-2").unwrap().changes_since(&one),
        ["source"]
    );
    assert_eq!(one.whole.len(), 64);
}

#[test]
fn the_checkout_times_comments_and_order_of_keys_do_not_matter() {
    let one = digest_of(&fixture());
    let fixture = fixture();
    for path in [
        "provision/setup.sh",
        "ansible/site.yml",
        "images/worker.toml",
    ] {
        let file = std::fs::File::options()
            .append(true)
            .open(fixture.path(path))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(24))
            .unwrap();
    }
    assert_eq!(digest_of(&fixture), one);
    let reordered = format!(
        "# another layout\n{}",
        TABLES
            .replace("colour = \"brown\"\ncount = 3\n", "count   = 3 # three\ncolour  = 'brown'\n")
            .replace("env = { TOKEN = \"{{ vars.token }}\" }", "")
            .replace(
                "shell = { script = \"../provision/setup.sh\",  }",
                "[step.shell]\nenv.TOKEN = \"{{ vars.token }}\"\nscript = \"../provision/setup.sh\"",
            )
    );
    fixture.write("images/worker.toml", &format!("{reordered}\n{HEAD}"));
    assert_eq!(digest_of(&fixture), one);
}

#[test]
fn a_file_that_vanished_is_an_error_that_names_it() {
    let fixture = fixture();
    let recipe = fixture.load_with("worker", &given()).unwrap();
    std::fs::remove_file(fixture.path("provision/setup.sh")).unwrap();
    let error = digest(&recipe, "ami-1").unwrap_err().to_string();
    assert!(error.contains("`../provision/setup.sh`"), "{error}");
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Trees of files: names with folders, contents, modes.
fn tree() -> impl Strategy<Value = Vec<(String, Vec<u8>, u32)>> {
    let file = (
        "[a-c]{1,2}(/[x-z]{1,2}\\.t){1,2}",
        proptest::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![0o600, 0o644, 0o755]),
    );
    proptest::collection::vec(file, 0..5).prop_map(|files| {
        let mut seen = BTreeSet::new();
        files
            .into_iter()
            .filter(|(path, ..)| {
                // No file may stand where another one needs a folder.
                let clash = seen.iter().any(|other: &String| {
                    other == path
                        || other.starts_with(&format!("{path}/"))
                        || path.starts_with(&format!("{other}/"))
                });
                !clash && seen.insert(path.clone())
            })
            .collect()
    })
}

fn digest_of_tree(files: &[(String, Vec<u8>, u32)], rename: &str) -> String {
    let fixture = Fixture::below_head(
        "[[step]]\nfile = { from = \"../tree\", to = \"/t\" }\n[[step]]\nansible = { playbook = \"../play/site.yml\" }\n",
    )
    .file("play/site.yml", "[]")
    .file("tree/.keep", "");
    for (path, contents, mode) in files {
        for root in ["tree", "play"] {
            let path = format!("{root}/{path}{rename}");
            fixture.write(&path, "");
            std::fs::write(fixture.path(&path), contents).unwrap();
            fixture.mode(&path, *mode);
        }
    }
    let recipe = fixture.load().unwrap();
    digest(&recipe, "ami-1").unwrap().whole
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Equal trees have equal digests in whatever order they were made and
    /// wherever they lie; different trees have different ones.
    #[test]
    fn trees_are_equal_exactly_when_their_digests_are(one in tree(), other in tree()) {
        let mut reversed = one.clone();
        reversed.reverse();
        prop_assert_eq!(digest_of_tree(&one, ""), digest_of_tree(&reversed, ""));
        let sorted = |files: &[(String, Vec<u8>, u32)]| files.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(
            sorted(&one) == sorted(&other),
            digest_of_tree(&one, "") == digest_of_tree(&other, "")
        );
        if !one.is_empty() {
            prop_assert_ne!(digest_of_tree(&one, ""), digest_of_tree(&one, "x"));
        }
    }

    #[test]
    fn any_two_values_of_a_variable_differ(one in "\\PC{0,12}", other in "\\PC{0,12}", secret: bool) {
        let table = if secret { "token = { from = \"env:T\", secret = true }" } else { "token = { from = \"env:T\" }" };
        let fixture = Fixture::below_head(&format!("[vars]\n{table}\n"));
        let whole = |value: &str| {
            let value = format!("no-secret-is-shorter-{value}");
            digest_with(&fixture, &environment(&[("T", &value)])).whole
        };
        prop_assert_eq!(one == other, whole(&one) == whole(&other));
    }
}
