//! What lasts from one endpoint to the next and what does not, the lock
//! between two of them, and a machine's metadata, asked over its socket.

mod python;

use std::path::Path;
use std::time::Duration;

use forno_local::{Config, Error, MachineChoice, Mode, PocketEc2, running_endpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn config(root: &Path) -> Config {
    let mut config = Config::new(root.join("state"), root.join("cache"));
    config.machine = MachineChoice::Stub;
    config
}

async fn start(root: &Path) -> PocketEc2 {
    PocketEc2::start(config(root), &|_| {}).await.unwrap()
}

/// A few lines of boto3 against an endpoint; what they print.
async fn ask(endpoint: &PocketEc2, script: &str) -> String {
    let credentials = endpoint.credentials();
    let output = tokio::process::Command::new(python::interpreter())
        .arg("-c")
        .arg(format!("import sys, boto3\nfrom support import *\nec2 = client()\nsource = client('ssm').get_parameter(Name=SOURCE)['Parameter']['Value']\n{script}"))
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
        .env("FORNO_TEST_URL", endpoint.endpoint_url())
        .env("FORNO_TEST_REGION", endpoint.region())
        .env("FORNO_TEST_ACCESS_KEY", &credentials.access_key_id)
        .env("FORNO_TEST_SECRET_KEY", &credentials.secret_access_key)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const BAKE: &str = r"
made = ec2.run_instances(ImageId=source, InstanceType='t3.micro', MinCount=1, MaxCount=1)['Instances'][0]['InstanceId']
ec2.get_waiter('instance_running').wait(InstanceIds=[made], WaiterConfig={'Delay': 1, 'MaxAttempts': 60})
image = ec2.create_image(InstanceId=made, Name='lasting', NoReboot=True, TagSpecifications=tags('image', a='b'))['ImageId']
ec2.get_waiter('image_available').wait(ImageIds=[image], WaiterConfig={'Delay': 1, 'MaxAttempts': 60})
client('ssm').put_parameter(Name='/lasting', Value='kept', Type='String')
print(made, image)
";

#[tokio::test(flavor = "multi_thread")]
async fn images_last_and_machines_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path()).await;
    let credentials = first.credentials().clone();
    let said = ask(&first, BAKE).await;
    let (instance, image) = said.split_once(' ').unwrap();
    first.shutdown().await.unwrap();
    assert_eq!(running_endpoint(&dir.path().join("state")).unwrap(), None);

    let second = start(dir.path()).await;
    assert_eq!(*second.credentials(), credentials);
    let look = format!(
        "i = ec2.describe_instances(InstanceIds=['{instance}'])['Reservations'][0]['Instances'][0]\n\
         m = ec2.describe_images(ImageIds=['{image}'])['Images'][0]\n\
         print(i['State']['Name'], i['StateReason']['Code'], m['State'], m['Tags'][0]['Value'], len(ec2.describe_volumes()['Volumes']),
         client('ssm').get_parameter(Name='/lasting')['Parameter']['Value'])"
    );
    assert_eq!(
        ask(&second, &look).await,
        "terminated Server.EndpointShutdown available b 0 kept"
    );
    // The image still starts.
    let again = format!(
        "made = ec2.run_instances(ImageId='{image}', InstanceType='t3.micro', MinCount=1, MaxCount=1)['Instances'][0]['InstanceId']\n\
         ec2.get_waiter('instance_running').wait(InstanceIds=[made], WaiterConfig={{'Delay': 1, 'MaxAttempts': 60}})"
    );
    ask(&second, &again).await;
    second.shutdown().await.unwrap();
    let disks: Vec<_> = std::fs::read_dir(dir.path().join("state/disks"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(
        disks.len(),
        2,
        "the stub's source and the image's snapshot: {disks:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_hears_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = config(dir.path());
    serving.mode = Mode::Serve;
    let first = PocketEc2::start(serving, &|_| {}).await.unwrap();
    let (info, credentials) = running_endpoint(&dir.path().join("state"))
        .unwrap()
        .unwrap();
    assert_eq!(
        (info.url.as_str(), &credentials),
        (first.endpoint_url(), first.credentials())
    );
    let error = PocketEc2::start(config(dir.path()), &|_| {})
        .await
        .unwrap_err();
    let Error::InUse { pid, url, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (*pid, url.as_deref()),
        (std::process::id(), Some(first.endpoint_url()))
    );
    assert!(error.hint().unwrap().contains(first.endpoint_url()));
    first.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(dir.path());
    config.listen = Some(taken.local_addr().unwrap());
    let error = PocketEc2::start(config.clone(), &|_| {}).await.unwrap_err();
    assert!(
        matches!(error, Error::Listen { .. }) && error.hint().is_some(),
        "{error}"
    );
    config.listen = Some("0.0.0.0:0".parse().unwrap());
    let error = PocketEc2::start(config.clone(), &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::NotLoopback { .. }), "{error}");
    config.listen = None;
    config.region = "mars-north-1".to_owned();
    let error = PocketEc2::start(config, &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::UnknownRegion { .. }), "{error}");
}

/// One request over the machine's socket: status and body.
async fn get(socket: &Path, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    tokio::time::timeout(Duration::from_mins(1), stream.read_to_string(&mut reply))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_as_cloud_init_crawls_it() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = start(dir.path()).await;
    let instance = ask(
        &endpoint,
        r"
ec2.import_key_pair(KeyName='mine', PublicKeyMaterial=ED25519)
made = ec2.run_instances(ImageId=source, InstanceType='t3.micro', MinCount=1, MaxCount=1, KeyName='mine', UserData='#!/bin/sh\n',
    MetadataOptions={'HttpTokens': 'required', 'InstanceMetadataTags': 'enabled'}, TagSpecifications=tags('instance', Name='n'))
made = made['Instances'][0]['InstanceId']
ec2.get_waiter('instance_running').wait(InstanceIds=[made], WaiterConfig={'Delay': 1, 'MaxAttempts': 60})
print(made)
",
    )
    .await;
    let socket = dir
        .path()
        .join("state/machines")
        .join(&instance)
        .join("imds.sock");
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";

    assert_eq!(
        get(&socket, "GET", "/latest/meta-data/instance-id", "")
            .await
            .0,
        401
    );
    assert_eq!(
        get(
            &socket,
            "GET",
            "/latest/meta-data/",
            "X-aws-ec2-metadata-token: x\r\n"
        )
        .await
        .0,
        401
    );
    assert_eq!(get(&socket, "PUT", "/latest/api/token", "").await.0, 400);
    assert_eq!(
        get(
            &socket,
            "PUT",
            "/latest/api/token",
            &format!("{ttl}X-Forwarded-For: 1.2.3.4\r\n")
        )
        .await
        .0,
        403
    );
    assert_eq!(get(&socket, "POST", "/latest/api/token", ttl).await.0, 405);
    let (status, token) = get(&socket, "PUT", "/latest/api/token", ttl).await;
    assert_eq!(status, 200);
    let header = format!("X-aws-ec2-metadata-token: {token}\r\n");

    for (path, expected) in [
        ("/2021-03-23/meta-data/instance-id", instance.as_str()),
        ("/2009-04-04/meta-data/instance-id", instance.as_str()),
        ("/latest/meta-data/public-keys/", "0=mine"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
        ("/latest/meta-data/block-device-mapping/", "ami\nroot"),
        ("/latest/meta-data/tags/instance/Name", "n"),
        ("/latest/meta-data/services/domain", "amazonaws.com"),
        ("/latest/user-data", "#!/bin/sh\n"),
        ("/latest/", "dynamic\nmeta-data\nuser-data"),
    ] {
        assert_eq!(
            get(&socket, "GET", path, &header).await,
            (200, expected.to_owned()),
            "{path}"
        );
    }
    for absent in [
        "/1999-01-01/meta-data/",
        "/latest/meta-data/spot/instance-action",
        "/2016-09-02/meta-data/tags/",
        "/latest/x",
    ] {
        assert_eq!(
            get(&socket, "GET", absent, &header).await.0,
            404,
            "{absent}"
        );
    }
    let (_, document) = get(
        &socket,
        "GET",
        "/latest/dynamic/instance-identity/document",
        &header,
    )
    .await;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["instanceId"], instance);
    assert_eq!(
        crawl(&socket, "/latest/meta-data/", &header).await,
        0,
        "names that lead nowhere"
    );
    endpoint.shutdown().await.unwrap();
    assert!(!socket.exists());
}

/// Follows every name that a listing gives, as cloud-init does; how many led
/// nowhere.
async fn crawl(socket: &Path, root: &str, header: &str) -> usize {
    let (mut pending, mut lost, mut seen) = (vec![root.to_owned()], 0, 0);
    while let Some(path) = pending.pop() {
        let (status, body) = get(socket, "GET", &path, header).await;
        seen += 1;
        if status != 200 {
            lost += 1;
        } else if path.ends_with('/') {
            for name in body.lines() {
                let child = match name.split_once('=') {
                    Some((index, _)) => format!("{path}{index}/openssh-key"),
                    None => format!("{path}{name}"),
                };
                pending.push(child);
            }
        }
    }
    assert!(seen > 30, "only {seen} entries");
    lost
}
