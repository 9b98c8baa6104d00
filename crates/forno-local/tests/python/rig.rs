//! An endpoint of a test's own, with stub machines, and scripts that ask it things
//! with boto3.

use forno_local::{CallRecord, Config, Fault, FaultPlan, MachineChoice, Pace, PocketEc2};
use tempfile::TempDir;
use tokio::process::Command;

/// An endpoint of a test's own, and what it takes to ask it things.
pub(crate) struct Rig {
    pub(crate) endpoint: PocketEc2,
    #[allow(dead_code, reason = "not every test looks into it")]
    pub(crate) folder: TempDir,
}

/// What every script begins with.
const PRELUDE: &str = r"
import time
from botocore.exceptions import ClientError, HTTPClientError
from support import *

ec2 = client()

def source():
    return client('ssm').get_parameter(Name=SOURCE)['Parameter']['Value']

def launch(image=None, **more):
    made = ec2.run_instances(ImageId=image or source(), InstanceType='t3.micro', MinCount=1, MaxCount=1, **more)
    return made['Instances'][0]['InstanceId']

def instance(id):
    return ec2.describe_instances(InstanceIds=[id])['Reservations'][0]['Instances'][0]

def state(id):
    return instance(id)['State']['Name']

def image(id):
    return ec2.describe_images(ImageIds=[id])['Images'][0]

def code(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as error:
        return error.response['Error']['Code']
    except HTTPClientError as error:
        return type(error).__name__
    return 'done'

def until(look, wanted):
    for _ in range(600):
        if look() == wanted:
            return wanted
        time.sleep(0.1)
    raise AssertionError(f'{look()} and not {wanted}')
";

impl Rig {
    pub(crate) async fn start(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::with(FaultPlan::of(faults)).await
    }

    pub(crate) async fn with(plan: FaultPlan) -> Self {
        Self::paced(Pace::INSTANT, plan).await
    }

    pub(crate) fn command(&self, script: &str) -> Command {
        let credentials = self.endpoint.credentials();
        let mut command = Command::new(crate::python::interpreter());
        command
            .arg("-c")
            .arg(format!("{PRELUDE}\n{script}"))
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"),
            )
            .env("FORNO_TEST_URL", self.endpoint.endpoint_url())
            .env("FORNO_TEST_REGION", self.endpoint.region())
            .env("FORNO_TEST_ACCESS_KEY", &credentials.access_key_id)
            .env("FORNO_TEST_SECRET_KEY", &credentials.secret_access_key)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true);
        command
    }

    /// What a script prints.
    pub(crate) async fn ask(&self, script: &str) -> String {
        let output = self.command(script).output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The calls of one action.
    pub(crate) fn calls(&self, action: &str) -> Vec<CallRecord> {
        let mut calls = self.endpoint.calls();
        calls.retain(|call| call.action == action);
        calls
    }

    /// With states that last as a pace says.
    pub(crate) async fn paced(pace: Pace, plan: FaultPlan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("state"), folder.path().join("cache"));
        config.machine = MachineChoice::Stub;
        config.faults = plan;
        config.pace = pace;
        Self {
            endpoint: PocketEc2::start(config, &|_| {}).await.unwrap(),
            folder,
        }
    }

    pub(crate) async fn end(self) {
        self.endpoint.shutdown().await.unwrap();
    }
}
