//! Bakes that go well: what they leave, what they remember, when they are repeated.

use crate::support::{Machine, Recipe, Running, Sandbox};

fn hello() -> Recipe {
    Recipe::new("hello")
        .with("[vars]\nword = 'hello'")
        .shell("write", "echo {{ vars.word }} > greeting")
        .check("name = 'greeting is there'\ncommand = 'grep -qx hello \"$HOME/greeting\"'")
        .test("name = 'greeting is still there'\nrun = 'grep -qx hello \"$HOME/greeting\"'")
}

#[test]
fn a_bake_leaves_its_image_and_nothing_else() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&hello());
    let endpoint = sandbox.serve();

    let baked = sandbox
        .run(&["bake", "hello", "--local", "--output", "json"])
        .code(0);
    endpoint.holds_only_images(1);

    let events = baked.json_lines();
    assert!(events.len() > 10, "{baked}");
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["index"], index, "{event}");
    }
    let name = |event: &serde_json::Value| event["body"]["event"].as_str().map(str::to_owned);
    assert_eq!(name(&events[0]).as_deref(), Some("bake-started"));
    assert_eq!(
        name(events.last().unwrap()).as_deref(),
        Some("bake-finished")
    );

    let images = sandbox.run(&["images", "--local", "--json"]).code(0).json();
    let image = images[0]["id"].as_str().expect("an id").to_owned();
    assert!(
        endpoint.holds().contains(&format!("image {image}")),
        "{images}"
    );
    let manifest = sandbox.manifest().to_string();
    assert!(manifest.contains(&image), "{manifest}");
    let shown = sandbox.run(&["show", "--json"]).code(0).json();
    assert_eq!(shown.to_string(), manifest);

    // A replay of the recording is the recording.
    let replayed = sandbox.run(&["replay", "last", "--output", "json"]).code(0);
    assert_eq!(replayed.json_lines(), events);
    let plain = sandbox
        .run(&["replay", "last", "--output", "plain"])
        .code(0);
    assert!(plain.stderr.contains("write"), "{plain}");
    assert!(plain.stderr.contains(&image), "{plain}");

    let listed = sandbox.run(&["bakes", "--json"]).code(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn what_has_not_changed_is_not_baked_again() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&hello());
    let endpoint = sandbox.serve();
    let again = ["bake", "hello", "--local", "--if-changed"];

    sandbox.run(&again).code(0);
    sandbox.run(&again).code(3);
    endpoint.holds_only_images(1);

    // Another value is another image; back again, and the first one would do, but
    // the newest counts.
    sandbox
        .run(&[
            "bake",
            "hello",
            "--local",
            "--if-changed",
            "--var",
            "word=hello",
        ])
        .code(3);
    sandbox.recipe(&hello().shell("more", "true"));
    sandbox.run(&again).code(0);
    sandbox.run(&again).code(3);
    endpoint.holds_only_images(2);
    assert_eq!(sandbox.bakes().len(), 2);
}

#[test]
fn an_image_starts_from_another_and_waits_for_it() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("base").shell("base", "echo base >> history-of-this"));
    sandbox.recipe(
        &Recipe::new("child")
            .from("base")
            .shell("child", "echo child >> history-of-this")
            .test("run = 'test \"$(cat \"$HOME/history-of-this\" | tr \"\\n\" \" \")\" = \"base child \"'"),
    );
    let endpoint = sandbox.serve();
    let nightly = ["bake", "--all", "--local", "--if-changed"];
    sandbox.run(&nightly).code(0);
    endpoint.holds_only_images(2);
    sandbox.run(&nightly).code(3);

    // A new base is a reason for the child, which itself is the same.
    sandbox.recipe(
        &Recipe::new("base")
            .shell("base", "echo base >> history-of-this")
            .shell("more", "true"),
    );
    sandbox.run(&nightly).code(0);
    endpoint.holds_only_images(4);
}

#[test]
fn a_plan_changes_nothing() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&hello());
    let endpoint = sandbox.serve();
    let plan = sandbox
        .run(&["plan", "hello", "--local", "--json"])
        .code(0)
        .json();
    assert!(plan.to_string().contains("ami-"), "{plan}");
    endpoint.holds_nothing();
    assert!(sandbox.bakes().is_empty());
}

#[test]
fn a_secret_is_nowhere_to_be_seen() {
    const SECRET: &str = "correct horse battery staple";
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(
        &Recipe::new("hello")
            .with("[vars]\ntoken = { from = 'env:SECRET_OF_TEST', secret = true }")
            .step(
                "name = 'use'\nshell = { run = 'echo \"got $TOKEN\"; test -n \"$TOKEN\"', env = { TOKEN = '{{ vars.token }}' } }",
            ),
    );
    let endpoint = sandbox.serve();
    let mut command = sandbox.forno(&["bake", "hello", "--local", "--output", "plain"]);
    command.env("SECRET_OF_TEST", SECRET);
    let baked = crate::support::Running::start(command).finish().code(0);
    assert!(
        !baked.stdout.contains(SECRET) && !baked.stderr.contains(SECRET),
        "{baked}"
    );
    assert!(baked.stderr.contains("got "), "{baked}");
    endpoint.holds_only_images(1);

    let mut looked_at = 0;
    let mut folders = sandbox.bakes();
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            looked_at += 1;
            let text = String::from_utf8_lossy(&fs_err::read(&path).unwrap()).into_owned();
            assert!(!text.contains(SECRET), "{}", path.display());
        }
    }
    assert!(looked_at >= 4, "{looked_at} files");
}

#[test]
fn two_bakes_at_once_do_not_meet() {
    let sandbox = Sandbox::new(Machine::Stub);
    for name in ["one", "two", "three"] {
        sandbox.recipe(
            &Recipe::new(name)
                .shell("name", &format!("echo {name} > name"))
                .check(&format!("command = 'grep -qx {name} \"$HOME/name\"'")),
        );
    }
    let endpoint = sandbox.serve();
    sandbox
        .run(&["bake", "one", "two", "three", "--local", "--parallel", "3"])
        .code(0);
    endpoint.holds_only_images(3);
}

/// What a stage behind Packer reads, of two images at once.
#[test]
fn packers_manifest_is_added_to() {
    let sandbox = Sandbox::new(Machine::Stub);
    for name in ["one", "two"] {
        sandbox.recipe(&Recipe::new(name).shell("say", "echo hello"));
    }
    let bake = |names: &[&str]| {
        let options = ["--local", "--packer-manifest", "out.json"];
        sandbox.run(&[&["bake"], names, &options].concat()).code(0);
    };
    bake(&["one", "two"]);
    bake(&["one"]);
    let text = fs_err::read_to_string(sandbox.path().join("out.json")).expect("the file");
    let whole: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let builds = whole["builds"].as_array().expect("builds");
    let names: Vec<_> = builds.iter().map(|build| &build["name"]).collect();
    assert_eq!(names, ["one", "two", "one"]);
    assert_eq!(builds[0]["packer_run_uuid"], builds[1]["packer_run_uuid"]);
    assert_eq!(builds[2]["packer_run_uuid"], whole["last_run_uuid"]);
    let artifact = builds[2]["artifact_id"].as_str().expect("a text");
    let newest = sandbox.run(&["show", "last", "--json"]).code(0).json();
    let id = newest["image_id"].as_str().expect("an id");
    assert_eq!(artifact, format!("us-east-1:{id}"));

    // What is something else is not overwritten, and the image is there all the same.
    sandbox.file("notes.json", "[]");
    let options = ["bake", "one", "--local", "--packer-manifest", "notes.json"];
    sandbox
        .run(&options)
        .code(1)
        .says(&["no manifest of Packer's", "forno show"]);
}

/// A role of `forno.toml`, by an endpoint that the environment names.
#[test]
fn the_role_of_forno_toml_bakes_and_sweeps() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.file(
        "forno.toml",
        "images = ['images']\n[[assume_role]]\nrole_arn = 'arn:aws:iam::123456789012:role/baker'\n\
         session_name = 'nightly'\nexternal_id = 'ours'\n",
    );
    sandbox.recipe(&Recipe::new("one").shell("say", "echo hello"));
    let endpoint = sandbox.serve();
    let run = |arguments: &[&str]| {
        let mut command = sandbox.forno(arguments);
        command.envs(endpoint.variables());
        Running::start(command).finish()
    };
    run(&["bake", "one", "--no-image"]).code(0);
    run(&["bake", "one"]).code(0);
    let folder = fs_err::read_dir(sandbox.home().join("bakes")).unwrap();
    for bake in folder {
        let plan = fs_err::read_to_string(bake.unwrap().path().join("plan.json")).unwrap();
        assert!(plan.contains("assumed-role/baker/nightly"), "{plan}");
    }
    endpoint.holds_only_images(1);
    let told = run(&["plan", "one"]).code(0);
    assert!(told.stdout.contains("as the last one"), "{told}");
    // A broken recipe is in nobody's way who needs none; a broken `forno.toml` is.
    sandbox.file("images/broken.toml", "[image");
    run(&["images"]).code(0);
    run(&["sweep"]).code(0);
    sandbox.file("forno.toml", "[[assume_role]]\nrole_arn = 'baker'\n");
    run(&["sweep"])
        .code(10)
        .says(&["`baker` is not the ARN of a role"]);
}
