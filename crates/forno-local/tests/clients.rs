//! Foreign clients judge the endpoint: boto3 and the AWS CLI drive every
//! action, and every reply is held against the official service model. The
//! machines behind it are stubs, so this needs no privileges.

mod python;

use forno_local::{Config, MachineChoice, PocketEc2};

#[tokio::test(flavor = "multi_thread")]
async fn boto3_and_the_aws_cli_find_nothing_wrong() {
    let python = python::interpreter();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("state"), dir.path().join("cache"));
    config.machine = MachineChoice::Stub;
    let endpoint = PocketEc2::start(config, &|_| {}).await.unwrap();
    let credentials = endpoint.credentials().clone();
    let mut command = tokio::process::Command::new(python);
    command
        .args(["-m", "unittest", "discover", "-v", "-s"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
        .env("FORNO_TEST_URL", endpoint.endpoint_url())
        .env("FORNO_TEST_REGION", endpoint.region())
        .env("FORNO_TEST_ACCESS_KEY", credentials.access_key_id)
        .env("FORNO_TEST_SECRET_KEY", credentials.secret_access_key)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    endpoint.shutdown().await.unwrap();
    assert!(output.status.success(), "{said}");
    let summary = said.lines().rev().find(|line| line.starts_with("Ran "));
    println!("{}", summary.expect("unittest says how many tests it ran"));
    assert!(summary.is_some_and(|line| !line.starts_with("Ran 0 ")));
}
