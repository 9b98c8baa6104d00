//! The images of this repository, all three, and the point of baking them: a
//! worker joins a controller and a build runs on it.
//!
//! Each is baked by another way of reaching machines; `FORNO_WAYS=all`, as in `make
//! fire`, bakes all of them by each.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Machine, Sandbox, eventually, traces};

#[test]
fn a_worker_joins_the_controller_and_builds() {
    let Some(mut sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    // The controller takes its web pages from Python's package index: where a proxy
    // looks into TLS, the machine must trust what this computer trusts.
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if bundle.exists() {
        sandbox.trust(bundle);
    }
    let repository = repository();
    let directory = repository.to_str().expect("a path in UTF-8");
    let endpoint = sandbox.serve();

    let bake = |images: &[&str], way: &str| {
        let start = ["-C", directory, "bake", "--local", "--connect", way];
        sandbox.run(&[&start, images].concat()).code(0);
    };
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    let all = std::env::var("FORNO_WAYS").is_ok_and(|ways| ways == "all");
    if all {
        for (number, way) in ["ssm", "ssh-over-ssm", "ssh"].into_iter().enumerate() {
            // The bases come first by themselves.
            bake(&["--all"], way);
            endpoint.holds_only_images(3 * (number + 1));
            let is_open = endpoint.asked("AuthorizeSecurityGroupIngress") > 0;
            assert_eq!(is_open, way == "ssh", "{way}");
        }
        return;
    }
    bake(&["base"], "ssh-over-ssm");
    bake(&["controller"], "ssm");
    let asked = endpoint.asked("AuthorizeSecurityGroupIngress");
    assert_eq!(asked, 0, "no port is opened for either");
    bake(&["worker"], "ssh");
    endpoint.holds_only_images(3);
    // Nothing has changed since: the second night has nothing to do.
    sandbox
        .run(&["-C", directory, "bake", "--all", "--if-changed", "--local"])
        .code(3);

    let tests = repository.join("provision/tests");
    let made = Command::new(tests.join("venv.sh"))
        .output()
        .expect("venv.sh can be started");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let venv = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
    let played = Command::new(venv.join("bin/python"))
        .arg(tests.join("controller_and_worker.py"))
        .envs(endpoint.variables())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python can be started");
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&played.stdout),
        String::from_utf8_lossy(&played.stderr)
    );
    assert!(played.status.success(), "{told}");
    assert!(
        told.contains("on worker-1: build successful"),
        "the script says nothing of a build:\n{told}"
    );

    endpoint.holds_only_images(3);
    drop(endpoint);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies in crates/ of the repository")
        .to_owned()
}
