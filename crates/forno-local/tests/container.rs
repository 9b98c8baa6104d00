//! The whole point, with real machines: a container booted from Debian's disk,
//! reached with an imported key, made into an image, and a second one booted
//! from that image; and one that only its agent is asked. Needs root and what `forno local doctor` asks for; says so
//! and passes where that is missing.
//!
//! This test has its own `main`, because machines run hidden modes of the
//! binary that starts them.

#![expect(
    clippy::print_stdout,
    reason = "a test without the harness reports by itself"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

#[path = "python/mod.rs"]
mod python;

use forno_local::{Config, MachineChoice, PocketEc2};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(code) = forno_machine::helper_main(&args) {
        return code;
    }
    // `cargo test -- --list` and filters of other tests.
    let words: Vec<_> = args
        .iter()
        .skip(1)
        .filter_map(|word| word.to_str())
        .collect();
    let name = "a_container_becomes_an_image_that_boots";
    if words.contains(&"--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    if words
        .iter()
        .any(|word| !word.starts_with('-') && !name.contains(word))
    {
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = unusable() {
        forno_testing::skip(reason);
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(a_container_becomes_an_image_that_boots());
    println!("test {name} ... ok");
    ExitCode::SUCCESS
}

fn unusable() -> Option<String> {
    let report = forno_machine::doctor::examine(&cache());
    let finding = report.finding(forno_machine::Kind::Container);
    (!finding.usable).then(|| finding.notes.join("; "))
}

/// The Debian disk is the dearest thing there is: made once for all tests.
#[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
fn cache() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    var("FORNO_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("forno")))
        .or_else(|| Some(var("HOME")?.join(".cache/forno")))
        .expect("a home folder")
}

/// The certificates that machines need to install packages here.
fn ca_bundle() -> Option<PathBuf> {
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    bundle.exists().then(|| bundle.to_owned())
}

/// Runs a script of the foreign clients'.
async fn judge(endpoint: &PocketEc2, script: &str, key: &Path) -> Output {
    let credentials = endpoint.credentials().clone();
    tokio::process::Command::new(python::interpreter())
        .arg(format!(
            "{}/tests/clients/{script}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .env("FORNO_TEST_URL", endpoint.endpoint_url())
        .env("FORNO_TEST_REGION", endpoint.region())
        .env("FORNO_TEST_ACCESS_KEY", credentials.access_key_id)
        .env("FORNO_TEST_SECRET_KEY", credentials.secret_access_key)
        .env("FORNO_TEST_MACHINE_URL", endpoint.machine_endpoint())
        .env("FORNO_TEST_KEY", key)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

async fn a_container_becomes_an_image_that_boots() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success());
    let mut config = Config::new(dir.path().join("state"), cache());
    config.machine = MachineChoice::Container;
    config.ca_bundle = ca_bundle();
    let endpoint = PocketEc2::start(config, &|step| println!("{}", step.message))
        .await
        .unwrap();
    let judged = tokio::join!(
        judge(&endpoint, "whole_life.py", &key),
        judge(&endpoint, "through_the_agent.py", &key)
    );
    endpoint.shutdown().await.unwrap();
    for output in [judged.0, judged.1] {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // Nothing of any machine is left in the state folder.
    for folder in ["machines", "disks"] {
        let left: Vec<_> = std::fs::read_dir(dir.path().join("state").join(folder))
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
