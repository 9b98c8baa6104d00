//! Recipes that are right, and what they become.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::path::{Path, PathBuf};

use common::{Fixture, HEAD, environment, inputs};
use forno_recipe::{
    Action, Architecture, BakeFacts, Inputs, MASK, Project, Recipe, Script, Source, Unset,
    UploadSource, UserData, VarOrigin, bake_order, load, project_schema, schema,
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

fn facts() -> BakeFacts {
    BakeFacts {
        bake_id: "worker-01jd".into(),
        bake_short_id: "01jd".into(),
        started: "2026-11-22T21:00:05Z".parse().unwrap(),
        source_id: "ami-1".into(),
        source_name: "debian-12".into(),
    }
}

/// Every recipe of the repository: the team's and the examples.
fn projects() -> Vec<Project> {
    ["", "examples"]
        .into_iter()
        .map(|folder| {
            let folder = repository().join(folder);
            let project = Project::find(&folder).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                project.root().canonicalize().unwrap(),
                folder.canonicalize().unwrap()
            );
            project
        })
        .collect()
}

#[test]
fn every_recipe_of_the_repository_is_right() {
    let lenient = Inputs {
        unset: Unset::StandIn,
        ..Inputs::default()
    };
    for project in projects() {
        assert!(!project.recipes().is_empty());
        let recipes: Vec<Recipe> = project
            .recipes()
            .iter()
            .map(|entry| {
                load(&project, &entry.name, &lenient).unwrap_or_else(|error| panic!("{error}"))
            })
            .collect();
        bake_order(&recipes).unwrap();
        for recipe in &recipes {
            forno_recipe::digest(recipe, "ami-1").unwrap();
        }
    }
}

#[test]
fn examples_are_six_or_more_each_in_its_folder() {
    let project = &projects()[1];
    assert!(project.recipes().len() >= 6);
    for entry in project.recipes() {
        let text = std::fs::read_to_string(&entry.path).unwrap();
        assert!(text.starts_with("# One idea:"), "{}", entry.path.display());
    }
}

#[test]
fn the_schema_accepts_every_recipe_of_the_repository() {
    let recipe_schema = jsonschema::validator_for(&schema()).unwrap();
    let file_schema = jsonschema::validator_for(&project_schema()).unwrap();
    let check = |schema: &jsonschema::Validator, path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let value: toml::Value = toml::from_str(&text).unwrap();
        let json = serde_json::to_value(value).unwrap();
        let errors: Vec<String> = schema
            .iter_errors(&json)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    };
    for project in projects() {
        check(&file_schema, &project.root().join("forno.toml"));
        for entry in project.recipes() {
            check(&recipe_schema, &entry.path);
        }
    }
}

#[test]
fn the_schema_refuses_what_forno_refuses() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    for tables in [
        "zebra = 1",
        "[builder]\ninstance-types = []",
        "[builder]\ndisk = { size = \"16GB\" }",
        "[[step]]\nname = \"none\"",
        "[[step]]\nreboot = {}\nshell = { run = \"x\" }",
        "[[check]]\npackage = \"x\"\nmode = \"0644\"",
        "[[step]]\ntimeout = 90\nreboot = {}",
    ] {
        let text = format!("{tables}\n{HEAD}");
        let text = if tables.starts_with('[') {
            format!("{HEAD}{tables}")
        } else {
            text
        };
        let value: toml::Value = toml::from_str(&text).unwrap();
        assert!(
            !schema.is_valid(&serde_json::to_value(value).unwrap()),
            "{tables}"
        );
        assert!(Fixture::with(&text).load().is_err(), "{tables}");
    }
}

#[test]
fn defaults() {
    let recipe = Fixture::with(HEAD).load().unwrap();
    assert_eq!(recipe.name, "worker");
    assert_eq!(recipe.architecture, Architecture::X86_64);
    assert_eq!(
        recipe.ami_name.render(&facts()).unwrap(),
        format!("worker-20261122-210005-{}", facts().bake_short_id)
    );
    assert_eq!(recipe.builder.user, "admin");
    assert_eq!(recipe.builder.instance_types, ["t3.medium", "t3a.medium"]);
    assert!(recipe.builder.disk.encrypted);
    assert_eq!(recipe.builder.timeouts.total.to_string(), "2h");
    assert_eq!(
        recipe.source,
        Source::Ssm {
            parameter: "/aws/service/debian/release/12/latest/amd64".into()
        }
    );
    assert!(recipe.steps.is_empty() && recipe.tests.is_empty());
}

#[test]
fn forno_toml_lies_beneath() {
    let fixture = Fixture::new()
        .file(
            "forno.toml",
            r#"
images = ["a", "b"]
region = "eu-west-1"
[builder]
user = "ops"
instance_types = ["m7i.large"]
disk = { size = "20GiB", throughput = 250 }
[vars]
colour = "brown"
crust = "thick"
[tags]
team = "{{ vars.crust }}"
kind = "x"
"#,
        )
        .file(
            "a/worker.toml",
            &format!(
                "{}[builder]\ninstance_types = [\"c7i.large\"]\ndisk = {{ size = \"30GiB\" }}\n[vars]\ncolour = 3\n",
                HEAD.replace("[source]", "tags = { kind = \"y\" }\n[source]")
            ),
        )
        .file("b/other.toml", &HEAD.replace("worker", "other"));
    let project = fixture.project().unwrap();
    assert_eq!(project.region(), Some("eu-west-1"));
    let names: Vec<&str> = project
        .recipes()
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(names, ["other", "worker"]);

    let recipe = fixture.load().unwrap();
    assert_eq!(recipe.builder.user, "ops");
    assert_eq!(recipe.builder.instance_types, ["c7i.large"]);
    assert_eq!(recipe.builder.disk.size.unwrap().to_string(), "30GiB");
    assert_eq!(recipe.builder.disk.throughput, Some(250));
    assert_eq!(format!("{:?}", recipe.vars["colour"].value), "3");
    let tags: Vec<(&str, String)> = recipe
        .tags
        .iter()
        .map(|(key, value)| (key.as_str(), value.render(&facts()).unwrap()))
        .collect();
    assert_eq!(tags, [("kind", "y".into()), ("team", "thick".into())]);
}

#[test]
fn a_recipe_has_three_names() {
    let fixture = Fixture::new().file("images/the-file.toml", HEAD);
    for name in ["worker", "the-file", "images/the-file.toml"] {
        assert_eq!(
            fixture.load_with(name, &Inputs::default()).unwrap().name,
            "worker"
        );
    }
    // Found from a folder below, and with a path from there.
    let project = Project::find(&fixture.path("images")).unwrap();
    assert_eq!(
        load(&project, "the-file.toml", &Inputs::default())
            .unwrap()
            .name,
        "worker"
    );
}

#[test]
fn a_recipe_named_by_path_belongs_to_its_own_project() {
    let fixture = Fixture::below_head("")
        .file("forno.toml", "[builder]\nuser = \"outer\"\n")
        .file(
            "inner/forno.toml",
            "images = [\".\"]\n[builder]\nuser = \"inner\"\n",
        )
        .file("inner/base.toml", &HEAD.replace("worker", "base"))
        .file(
            "inner/leaf.toml",
            "[image]\nname = \"leaf\"\nfrom = \"base\"\n",
        );
    let leaf = fixture
        .load_with("inner/leaf.toml", &Inputs::default())
        .unwrap();
    assert_eq!(leaf.from(), Some("base"));
    assert_eq!(leaf.builder.user, "inner");
    assert_eq!(fixture.load().unwrap().builder.user, "outer");
    let project = fixture
        .project()
        .unwrap()
        .containing("inner/leaf.toml")
        .unwrap();
    assert_eq!(project.recipes().len(), 2);
}

#[test]
fn the_architecture_is_that_of_the_base() {
    let fixture = Fixture::with("[image]\nname = \"worker\"\nfrom = \"middle\"\n")
        .file(
            "images/middle.toml",
            "[image]\nname = \"middle\"\nfrom = \"base\"\n",
        )
        .file(
            "images/base.toml",
            &HEAD.replace("worker\"", "base\"\narchitecture = \"arm64\""),
        );
    let recipe = fixture.load().unwrap();
    assert_eq!(recipe.architecture, Architecture::Arm64);
    assert_eq!(recipe.builder.instance_types, ["t4g.medium"]);
}

#[test]
fn where_values_come_from() {
    let fixture = Fixture::below_head(
        r#"
[vars]
a = "default"
b = { default = "default", from = "env:B" }
c = { from = "file:c.txt" }
d = "default"
e = "default"
f = "default"
n = { default = 1, type = "float" }
derived = "{{ vars.a }} and {{ vars.late_one }}"
late_one = "{{ vars.n }}"
"#,
    )
    .file("images/c.txt", "{{ from a file }}\n\n")
    .file("vars.toml", "e = \"var file\"\nf = \"var file\"\n");
    let given = Inputs {
        vars: vec![
            ("f".into(), "first".into()),
            ("f".into(), "{{ last }}".into()),
        ],
        var_files: vec![fixture.path("vars.toml")],
        ..environment(&[
            ("B", "env"),
            ("FORNO_VAR_d", "forced"),
            ("FORNO_VAR_f", "forced"),
        ])
    };
    let vars = fixture.load_with("worker", &given).unwrap().vars;
    let show = |name: &str| format!("{:?} {:?}", vars[name].value, vars[name].origin);
    assert_eq!(show("a"), r#""default" Default"#);
    assert_eq!(show("b"), r#""env" Environment("B")"#);
    // What comes from outside is not a template.
    assert_eq!(show("c"), r#""{{ from a file }}" File("c.txt")"#);
    assert_eq!(show("d"), r#""forced" ForcedEnvironment"#);
    assert!(matches!(vars["e"].origin, VarOrigin::VarFile(_)));
    assert_eq!(show("f"), r#""{{ last }}" CommandLine"#);
    assert_eq!(show("derived"), r#""default and 1.0" Default"#);
}

#[test]
fn a_variable_of_another_recipe_is_no_slip() {
    let fixture = Fixture::below_head("[vars]\nmine = 1\n").file(
        "images/other.toml",
        &format!("{}[vars]\ntheirs = 1\n", HEAD.replace("worker", "other")),
    );
    fixture
        .load_with("worker", &inputs(&[("theirs", "2")]))
        .unwrap();
    assert!(
        fixture
            .load_with("worker", &inputs(&[("nobodys", "2")]))
            .is_err()
    );
}

#[test]
fn a_secret_reaches_its_place_and_no_other() {
    const SECRET: &str = "hunter2-hunter2";
    let fixture = Fixture::below_head(
        r#"
[vars]
token  = { from = "env:TOKEN", secret = true }
header = "Bearer {{ vars.token }}"

[[step]]
[step.shell]
run = "login {{ vars.header | quote }}"
env = { TOKEN = "{{ vars.token | upper }}" }

[[step]]
file = { content = "{{ vars.token }}", to = "/x" }

[[step]]
shell = { script = "s.sh", template = true }

[[step]]
ansible = { playbook = "p.yml", extra_vars = { list = ["{{ vars.token }}"], n = "{{ 1 + 1 }}" } }
"#,
    )
    .file("images/s.sh", "echo {{ vars.token }}\n")
    .file("images/p.yml", "[]\n");
    let recipe = fixture
        .load_with("worker", &environment(&[("TOKEN", SECRET)]))
        .unwrap();
    for shown in [
        format!("{recipe:?}"),
        serde_json::to_string(&recipe).unwrap(),
    ] {
        assert!(!shown.to_lowercase().contains("hunter2"), "{shown}");
        assert!(shown.contains(MASK));
    }
    let secrets: Vec<&str> = recipe.secrets().map(|(name, _)| name).collect();
    assert_eq!(secrets, ["header", "token"]);
    let Action::Shell(shell) = &recipe.steps[0].action else {
        panic!()
    };
    let Script::Inline(text) = &shell.script else {
        panic!()
    };
    assert_eq!(text.expose(), format!("login 'Bearer {SECRET}'"));
    assert_eq!(shell.env["TOKEN"].expose(), SECRET.to_uppercase());
    assert_eq!(recipe.steps[0].name, "login {{ vars.header | quote }}");
    let Action::Upload(upload) = &recipe.steps[1].action else {
        panic!()
    };
    let UploadSource::Content(text) = &upload.source else {
        panic!()
    };
    assert_eq!(text.expose(), SECRET);
    let Action::Shell(shell) = &recipe.steps[2].action else {
        panic!()
    };
    let Script::Rendered { text, .. } = &shell.script else {
        panic!()
    };
    assert_eq!(text.expose(), format!("echo {SECRET}\n"));
    let Action::Ansible(ansible) = &recipe.steps[3].action else {
        panic!()
    };
    assert_eq!(
        ansible.extra_vars["list"].expose(),
        serde_json::json!([SECRET])
    );
    assert_eq!(ansible.extra_vars["n"].expose(), serde_json::json!(2));
}

#[test]
fn no_debug_output_holds_a_secret() {
    let fixture = Fixture::below_head("[vars]\ntoken = { secret = true }\nn = 1\n")
        .file(
            "forno.toml",
            "[vars]\nother = { default = \"hunter2-default\", secret = true }\n",
        )
        .file("v.toml", "token = \"hunter2-file\"\nn = \"x\"\n");
    let given = Inputs {
        var_files: vec![fixture.path("v.toml")],
        digest_key: Some("hunter2-key".into()),
        vars: vec![("token".into(), "hunter2-var".into())],
        ..environment(&[("X", "hunter2-env")])
    };
    let error = fixture.load_with("worker", &given).unwrap_err();
    for shown in [
        format!("{given:?}"),
        format!("{error:?}"),
        format!("{error}"),
        format!("{:?}", fixture.project().unwrap()),
        serde_json::to_string(error.problems()).unwrap(),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn without_secrets_at_hand_the_rest_is_checked() {
    let fixture = Fixture::below_head(
        "[vars]\ntoken = { from = \"env:TOKEN\", secret = true }\n[[step]]\nshell.run = \"x {{ vars.token }}\"\n",
    );
    assert!(fixture.load().is_err());
    let lenient = Inputs {
        unset: Unset::StandIn,
        ..Inputs::default()
    };
    let recipe = fixture.load_with("worker", &lenient).unwrap();
    assert_eq!(recipe.vars["token"].origin, VarOrigin::StandIn);
}

#[test]
fn what_is_a_template_and_what_is_not() {
    let fixture = Fixture::below_head(
        r#"
[vars]
x = "X"

[[step]]
shell = { run = ["echo {{ vars.x }}", "echo two"] }

[[step]]
shell = { run = "echo {{ vars.x }}", template = false, env = { V = "{{ vars.x }}" } }

[[step]]
shell = { script = "s.sh" }

[[step]]
file = { from = "s.sh", to = "/s", template = true }

[[step]]
file = { from = "../images", to = "/images" }

[prove]
user_data = "for {{ vars.x }} of {{ source.name }}"
"#,
    )
    .file("images/s.sh", "echo {{ vars.x }}\n");
    let recipe = fixture.load().unwrap();
    let script = |index: usize| match &recipe.steps[index].action {
        Action::Shell(shell) => match &shell.script {
            Script::Inline(text) => text.expose().to_owned(),
            Script::File(path) => format!("file {}", path.written),
            Script::Rendered { .. } => panic!(),
        },
        _ => panic!(),
    };
    assert_eq!(script(0), "echo X\necho two");
    assert_eq!(script(1), "echo {{ vars.x }}");
    assert_eq!(script(2), "file s.sh");
    let Action::Shell(shell) = &recipe.steps[1].action else {
        panic!()
    };
    assert_eq!(shell.env["V"].expose(), "X");
    let Action::Upload(upload) = &recipe.steps[3].action else {
        panic!()
    };
    let UploadSource::Rendered { text, .. } = &upload.source else {
        panic!()
    };
    assert_eq!(text.expose(), "echo X\n");
    let Action::Upload(upload) = &recipe.steps[4].action else {
        panic!()
    };
    let UploadSource::Folder(path) = &upload.source else {
        panic!()
    };
    assert_eq!(path.absolute, fixture.path("images"));
    let Some(UserData::Text(late)) = &recipe.prove.user_data else {
        panic!()
    };
    assert_eq!(late.render(&facts()).unwrap(), "for X of debian-12");
}

#[test]
fn an_entry_counts_when_it_says_so() {
    let entries = r#"
[vars]
stage = "homologation"
docker = false
[[step]]
name = "always"
shell.run = "true"
[[step]]
name = "docker"
when = "{{ vars.docker }}"
shell.script = "docker.sh"
[[step]]
name = "for one stage"
when = "{{ vars.stage == 'production' }}"
shell.run = "true"
[[check]]
when = "{{ vars.docker }}"
package = "docker.io"
[[test]]
name = "never"
when = false
run = "true"
[[on_failure]]
name = "log"
when = "{{ not vars.docker }}"
shell.run = "true"
"#;
    let fixture = Fixture::below_head(entries).file("images/docker.sh", "true\n");
    let baked = |given: &[(&str, &str)]| {
        let vars = given.iter();
        let inputs = Inputs {
            vars: vars.map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..Inputs::default()
        };
        let recipe = fixture.load_with("worker", &inputs).unwrap();
        let names = |steps: &[forno_recipe::Step]| {
            let names = steps.iter().map(|step| step.name.clone());
            names.collect::<Vec<_>>().join(", ")
        };
        let left_out = recipe.left_out.iter();
        let left_out: Vec<String> = left_out
            .map(|entry| format!("{} {}", entry.list, entry.name))
            .collect();
        format!(
            "{} | {} | {} | {} || {}",
            names(&recipe.steps),
            recipe.checks.len(),
            recipe.tests.len(),
            names(&recipe.on_failure),
            left_out.join(", ")
        )
    };
    assert_eq!(
        baked(&[]),
        "always | 0 | 0 | log || step docker, step for one stage, check package docker.io, test never"
    );
    assert_eq!(
        baked(&[("docker", "true"), ("stage", "production")]),
        "always, docker, for one stage | 1 | 0 |  || on_failure log, test never"
    );
}

#[test]
fn what_is_left_out_is_no_part_of_the_digest() {
    let with = |step: &str| {
        let fixture = Fixture::below_head(&format!("[[step]]\nshell.run = \"true\"\n{step}"));
        let fixture = fixture.file("images/a.sh", step);
        let recipe = fixture.load().unwrap();
        forno_recipe::digest(&recipe, "ami-0").unwrap().whole
    };
    let without = with("");
    assert_eq!(
        with("[[step]]\nwhen = false\nshell.script = \"a.sh\"\n"),
        without
    );
    assert_ne!(
        with("[[step]]\nwhen = true\nshell.script = \"a.sh\"\n"),
        without
    );
}

#[test]
fn a_fixed_late_text_is_itself() {
    for text in [
        "plain",
        "{{ not a template }}",
        "quotes \" ' and \\ and {% %}",
        "ünï",
    ] {
        assert_eq!(
            forno_recipe::Late::fixed(text).render(&facts()).unwrap(),
            text
        );
    }
}

#[test]
fn the_resolved_recipe_is_the_same_in_every_checkout() {
    let recipe = |fixture: &Fixture| serde_json::to_value(fixture.load().unwrap()).unwrap();
    let make = || {
        Fixture::below_head("[[step]]\nshell = { script = \"../s.sh\" }\n").file("s.sh", "true\n")
    };
    assert_eq!(recipe(&make()), recipe(&make()));
}
