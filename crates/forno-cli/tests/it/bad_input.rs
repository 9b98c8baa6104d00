//! What people get wrong, each with its exit code and the words that help.

use std::net::TcpListener;

use crate::support::{Machine, Recipe, Running, Sandbox};

/// Bakes `images/bad.toml` of this text on a stub.
#[track_caller]
fn bad(recipe: &str, code: i32, words: &[&str]) {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.file("images/bad.toml", recipe);
    sandbox
        .run(&["bake", "bad", "--local"])
        .code(code)
        .says(words);
    assert!(sandbox.bakes().is_empty());
}

const HEAD: &str = "schema = 1\n\n[image]\nname = 'bad'\n\n[source]\nssm = '/aws/service/debian/release/12/latest/amd64'\n";

#[test]
fn an_unknown_key_with_what_was_meant() {
    bad(
        &format!("{HEAD}\n[builder]\ninstance_type = ['t3.small']\n"),
        10,
        &["images/bad.toml:10", "instance_type", "instance_types"],
    );
}

#[test]
fn a_wrong_type() {
    bad(
        &format!("{HEAD}\n[[step]]\nname = 's'\nattempts = 'many'\nshell = {{ run = 'true' }}\n"),
        10,
        &["images/bad.toml:11", "attempts"],
    );
}

#[test]
fn a_missing_script() {
    bad(
        &format!("{HEAD}\n[[step]]\nname = 's'\nshell = {{ script = 'nowhere.sh' }}\n"),
        10,
        &["images/bad.toml:11", "nowhere.sh"],
    );
}

#[test]
fn an_undefined_variable() {
    bad(
        &format!(
            "{HEAD}\n[vars]\nversion = '1'\n\n[[step]]\nname = 's'\nshell = {{ run = 'echo {{{{ vars.verzion }}}}' }}\n"
        ),
        10,
        &["images/bad.toml:14", "verzion"],
    );
}

#[test]
fn all_of_it_at_once() {
    bad(
        &format!(
            "{HEAD}\n[builder]\ninstance_type = ['t3.small']\n\n[[step]]\nname = 's'\nshell = {{ script = 'nowhere.sh' }}\n"
        ),
        10,
        &["instance_types", "nowhere.sh"],
    );
}

#[test]
fn no_toml_at_all() {
    bad("schema = 1\n[image\n", 10, &["images/bad.toml:2"]);
}

#[test]
fn a_circle_of_images() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("egg").from("hen").shell("s", "true"));
    sandbox.recipe(&Recipe::new("hen").from("egg").shell("s", "true"));
    sandbox
        .run(&["bake", "--all", "--local"])
        .code(10)
        .says(&["egg", "hen"]);
}

#[test]
fn a_name_that_aws_would_refuse() {
    bad(
        &HEAD.replace(
            "name = 'bad'",
            "name = 'bad'\nami_name = 'bad: with a colon & more'",
        ),
        10,
        &["images/bad.toml:5", "ami_name"],
    );
}

#[test]
fn no_such_image_to_start_from() {
    bad(
        &HEAD.replace(
            "ssm = '/aws/service/debian/release/12/latest/amd64'",
            "ami = 'ami-0123456789abcdef0'",
        ),
        11,
        &["ami-0123456789abcdef0", "InvalidAMIID.NotFound", "hint"],
    );
    bad(
        &HEAD.replace("release/12/latest/amd64", "release/99/latest/amd64"),
        11,
        &["release/99/latest/amd64", "ParameterNotFound"],
    );
    bad(
        &HEAD.replace(
            "ssm = '/aws/service/debian/release/12/latest/amd64'",
            "owners = ['136693071363']\nname = 'debian-99-*'",
        ),
        11,
        &["debian-99-*"],
    );
}

#[test]
fn an_image_of_the_other_architecture() {
    bad(
        &HEAD.replace("name = 'bad'", "name = 'bad'\narchitecture = 'arm64'"),
        11,
        &["x86_64", "arm64"],
    );
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Sandbox::new(Machine::Stub)
        .run(&["local", "serve", "--listen", &address])
        .code(11)
        .says(&[&address, "in use", "hint"]);
}

#[test]
fn a_state_folder_that_cannot_be_written() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("hello").shell("s", "true"));
    let file = sandbox.file("a-file", "");
    // Below a file there is no folder, not even for root.
    let mut command = sandbox.forno(&["bake", "hello", "--local"]);
    command.env("FORNO_HOME", file.join("state"));
    Running::start(command)
        .finish()
        .code(11)
        .says(&["a-file/state", "ot a directory"]);
}

#[test]
fn a_state_folder_that_is_in_use() {
    let sandbox = Sandbox::new(Machine::Stub);
    let _endpoint = sandbox.serve();
    sandbox
        .run(&["local", "serve"])
        .code(11)
        .says(&["in use", "hint"]);
    sandbox
        .run(&["local", "reset", "--yes"])
        .code(2)
        .says(&["end it first"]);
}

#[test]
fn no_qemu() {
    let sandbox = Sandbox::new(Machine::Vm);
    sandbox.recipe(&Recipe::new("hello").shell("s", "true"));
    let Some(command) =
        sandbox.forno_without("/usr/bin/qemu-system-x86_64", &["bake", "hello", "--local"])
    else {
        return;
    };
    Running::start(command)
        .finish()
        .code(11)
        .says(&["qemu-system-x86", "apt"]);
}

#[test]
fn no_ansible() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.file("images/play.yml", "- hosts: all\n  tasks: []\n");
    sandbox
        .recipe(&Recipe::new("hello").step("name = 'play'\nansible = { playbook = 'play.yml' }"));
    let mut command = sandbox.forno(&["bake", "hello", "--local"]);
    command.env("PATH", sandbox.path_without("ansible"));
    Running::start(command)
        .finish()
        .code(11)
        .says(&["hello", "ansible-playbook", "ansible-core"]);
    // Known before anything was begun.
    assert!(sandbox.bakes().is_empty());
}

#[test]
fn no_credentials_and_no_region() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("hello").shell("s", "true"));
    sandbox
        .run(&["bake", "hello"])
        .code(11)
        .says(&["region", "hint"]);
    sandbox
        .run(&["bake", "hello", "--region", "eu-west-1"])
        .code(11)
        .says(&["credentials", "eu-west-1", "hint"]);
}

#[test]
fn an_endpoint_where_nobody_is() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("hello").shell("s", "true"));
    let mut command = sandbox.forno(&["bake", "hello", "--region", "eu-west-1"]);
    command
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "no secret");
    Running::start(command)
        .finish()
        .code(11)
        .says(&["eu-west-1", "onnection refused", "hint"]);
}

#[test]
fn wrong_credentials() {
    let sandbox = Sandbox::new(Machine::Stub);
    sandbox.recipe(&Recipe::new("hello").shell("s", "true"));
    let endpoint = sandbox.serve();
    let mut command = sandbox.forno(&["bake", "hello", "--region", "us-east-1"]);
    command
        .env("AWS_ENDPOINT_URL", endpoint.url())
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "no secret");
    Running::start(command)
        .finish()
        .code(11)
        .says(&["the credentials are wrong", "us-east-1"]);
    endpoint.holds_nothing();
}

#[test]
fn an_instance_type_that_does_not_exist() {
    bad(
        &format!("{HEAD}\n[builder]\ninstance_types = ['t9.gigantic']\n"),
        11,
        &["t9.gigantic"],
    );
}
