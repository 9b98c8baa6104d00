//! Each fault as clients see it: boto3 against stub machines.

mod python;
#[path = "python/rig.rs"]
mod rig;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use forno_local::{
    Actions, Config, Fault, FaultPlan, InjectedError, MachineChoice, Moment, Pace, PocketEc2,
    Reply, Then, Throttle, Work,
};
use rig::Rig;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn errors_come_in_the_format_of_each_service() {
    let rig = Rig::start([
        Fault::of("DescribeRegions").error("InternalError"),
        Fault::of("DescribeRegions")
            .calls([2])
            .refusal(InjectedError {
                message: "no <capacity> & no luck".to_owned(),
                ..InjectedError::new("InsufficientInstanceCapacity")
            }),
        Fault::of("GetCallerIdentity").error("ExpiredToken"),
        Fault::of("GetParameter")
            .with("Name", "/aws/*")
            .error("InternalServerError"),
    ])
    .await;
    let said = rig
        .ask(
            r"
def told(call, **kwargs):
    try:
        call(**kwargs)
    except ClientError as error:
        whole, meta = error.response['Error'], error.response['ResponseMetadata']
        assert len(meta['RequestId']) == 36, meta
        print(whole['Code'], meta['HTTPStatusCode'], whole['Message'])
    else:
        print('done')
for _ in range(3):
    told(ec2.describe_regions)
told(client('sts').get_caller_identity)
told(client('ssm').get_parameter, Name='/other')
told(client('ssm').get_parameter, Name=SOURCE)
told(client('ssm').get_parameter, Name=SOURCE)
",
        )
        .await;
    let expected = "InternalError 500 The plan of faults says so.\n\
                    InsufficientInstanceCapacity 500 no <capacity> & no luck\n\
                    done\n\
                    ExpiredToken 400 The plan of faults says so.\n\
                    ParameterNotFound 400 \n\
                    InternalServerError 500 The plan of faults says so.\n\
                    done";
    let lines = |text: &str| {
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(lines(&said), lines(expected));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_seen_below_http_and_the_log_knows_what_was_done() {
    let rig = Rig::start([
        Fault::of("ImportKeyPair").reset(Moment::Before),
        Fault::of("ImportKeyPair").calls([2]).reset(Moment::After),
    ])
    .await;
    let said = rig
        .ask(
            r"
mine = dict(KeyName='mine', PublicKeyMaterial=ED25519)
count = lambda: len(ec2.describe_key_pairs()['KeyPairs'])
for _ in range(3):
    print(code(ec2.import_key_pair, **mine), count())
# botocore's own retry meets what its lost call has done.
",
        )
        .await;
    assert_eq!(
        said,
        "ConnectionClosedError 0\nConnectionClosedError 1\nInvalidKeyPair.Duplicate 1"
    );
    let calls: Vec<_> = rig
        .calls("ImportKeyPair")
        .into_iter()
        .map(|call| (call.ordinal, call.work, call.code, call.reply, call.faults))
        .collect();
    let duplicate = Some("InvalidKeyPair.Duplicate".to_owned());
    assert_eq!(
        calls,
        [
            (1, Work::None, None, Reply::Reset, vec![1]),
            (2, Work::Done, None, Reply::Reset, vec![2]),
            (3, Work::Refused, duplicate, Reply::Sent, vec![]),
        ]
    );
    let all = rig.endpoint.calls();
    let numbers: Vec<u64> = all.iter().map(|call| call.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    rig.endpoint.clear_calls();
    assert!(rig.endpoint.calls().is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_killed_exactly_while_its_call_is_held() {
    let rig = Rig::start([
        Fault::of("CreateSecurityGroup").hang(Moment::Before),
        Fault::of("CreateSecurityGroup")
            .calls([2])
            .hang(Moment::After),
    ])
    .await;
    for (entry, work) in [(1, Work::None), (2, Work::Done)] {
        let mut client = rig
            .command("ec2.create_security_group(GroupName='held', Description='d')")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        rig.endpoint.fault_struck(entry, 1).await;
        let held = rig.calls("CreateSecurityGroup").pop().unwrap();
        assert_eq!((held.work, held.reply), (work, Reply::Held));
        client.kill().await.unwrap();
    }
    let found =
        "print(sorted(g['GroupName'] for g in ec2.describe_security_groups()['SecurityGroups']))";
    assert_eq!(rig.ask(found).await, "['default', 'held']");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_its_client_has_gone() {
    let rig = Rig::start([Fault::of("RunInstances").latency(Duration::from_millis(1500))]).await;
    let said = rig
        .ask(
            r"
hasty = boto3.client('ec2', region_name=REGION, endpoint_url=URL, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
                     config=Config(read_timeout=1, retries={'total_max_attempts': 1}))
print(code(hasty.run_instances, ImageId=source(), InstanceType='t3.micro', MinCount=1, MaxCount=1))
found = lambda: [i['State']['Name'] for r in ec2.describe_instances()['Reservations'] for i in r['Instances']]
print(until(found, ['running']))
",
        )
        .await;
    assert_eq!(said, "ReadTimeoutError\n['running']");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_made_cannot_be_seen_at_first() {
    let rig = Rig::start([Fault::of("Run*|Create*|Import*")
        .every()
        .hide(Duration::from_hours(1))])
    .await;
    let said = rig
        .ask(
            r"
image_id = source()
key = ec2.import_key_pair(KeyName='k', PublicKeyMaterial=ED25519, TagSpecifications=tags('key-pair', a='b'))['KeyPairId']
group = ec2.create_security_group(GroupName='g', Description='d')['GroupId']
made = launch(image_id, ClientToken='t', TagSpecifications=tags('instance', a='b') + tags('volume', a='b'))
assert launch(image_id, ClientToken='t', TagSpecifications=tags('instance', a='b') + tags('volume', a='b')) == made
print(code(ec2.describe_key_pairs, KeyNames=['k']), len(ec2.describe_key_pairs()['KeyPairs']))
print(code(ec2.import_key_pair, KeyName='k', PublicKeyMaterial=ED25519))
print(code(launch, image_id, KeyName='k'))
print(code(ec2.describe_security_groups, GroupIds=[group]), len(ec2.describe_security_groups()['SecurityGroups']))
print(code(ec2.authorize_security_group_ingress, GroupId=group, IpProtocol='tcp', FromPort=22, ToPort=22, CidrIp='10.0.0.0/8'))
print(code(launch, image_id, SecurityGroupIds=[group]))
print(code(instance, made), len(ec2.describe_instances()['Reservations']), len(ec2.describe_volumes()['Volumes']))
for call in (ec2.terminate_instances, ec2.stop_instances, ec2.describe_instance_status):
    print(code(call, InstanceIds=[made]))
print(code(ec2.create_tags, Resources=[made], Tags=[{'Key': 'c', 'Value': 'd'}]), ec2.describe_tags()['Tags'])
print(code(ec2.create_image, InstanceId=made, Name='abc'))
print(made)
",
        )
        .await;
    let (seen, made) = said.rsplit_once('\n').unwrap();
    insta::assert_snapshot!(seen);

    rig.endpoint
        .set_faults(FaultPlan::of([Fault::of("CreateImage")
            .every()
            .hide(Duration::from_secs(1))]));
    let seen = rig
        .ask(&format!(
            r"
made = '{made}'
until(lambda: state(made), 'running')
print([t['Value'] for t in instance(made)['Tags']], len(ec2.describe_tags()['Tags']), len(ec2.describe_volumes()['Volumes']))
new = ec2.create_image(InstanceId=made, Name='abc', NoReboot=True)['ImageId']
print(code(ec2.describe_images, ImageIds=[new]), code(ec2.deregister_image, ImageId=new), code(launch, new))
print(code(ec2.create_image, InstanceId=made, Name='abc'), ec2.describe_snapshots(OwnerIds=['self'])['Snapshots'])
until(lambda: code(ec2.describe_images, ImageIds=[new]), 'done')
print(until(lambda: image(new)['State'], 'available'), len(ec2.describe_snapshots(OwnerIds=['self'])['Snapshots']))
"
        ))
        .await;
    assert_eq!(
        seen,
        "['b'] 3 1\nInvalidAMIID.NotFound InvalidAMIID.NotFound InvalidAMIID.NotFound\n\
         InvalidAMIName.Duplicate []\navailable 1"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_snapshots_fail_or_hang() {
    let rig = Rig::start([
        Fault::of("CreateImage").then(Then::ImageFailed("Client.InstanceTerminated".to_owned())),
        Fault::of("CreateImage")
            .calls([2])
            .then(Then::SnapshotError("Client.InternalError".to_owned()))
            .after(Duration::from_millis(300)),
        Fault::of("CreateImage").calls([3]).then(Then::ImagePending),
    ])
    .await;
    let said = rig
        .ask(
            r"
made = launch()
until(lambda: state(made), 'running')
def show(new):
    found = image(new)
    snapshot = ec2.describe_snapshots(SnapshotIds=[found['BlockDeviceMappings'][0]['Ebs']['SnapshotId']])['Snapshots'][0]
    print(found['State'], found.get('StateReason', {}).get('Code'), snapshot['State'], snapshot.get('StateMessage'))
def make(name):
    return ec2.create_image(InstanceId=made, Name=name, NoReboot=True)['ImageId']
for name in ('one', 'two'):
    new = make(name)
    until(lambda: image(new)['State'], 'failed')
    show(new)
    ec2.deregister_image(ImageId=new, DeleteAssociatedSnapshots=True)
hung, gone = make('three'), make('four')
until(lambda: image(gone)['State'], 'available')
show(hung)
print(hung)
",
        )
        .await;
    let (seen, hung) = said.rsplit_once('\n').unwrap();
    assert_eq!(
        seen,
        "failed Client.InstanceTerminated completed None\n\
         failed Client.InternalError error Client.InternalError: A client error caused the instance to terminate \
         during launch.\n\
         pending None pending None"
    );
    rig.endpoint.set_faults(FaultPlan::default());
    let loose = format!("print(until(lambda: image('{hung}')['State'], 'available'))");
    assert_eq!(rig.ask(&loose).await, "available");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_no_image_is_made_of_fail_or_hide() {
    let fails = || Then::SnapshotError("Client.InternalError".to_owned());
    let rig = Rig::start([
        Fault::of("CreateSnapshot").then(fails()),
        Fault::of("CompleteSnapshot").then(fails()),
        Fault::of("StartSnapshot")
            .calls([2])
            .hide(Duration::from_mins(10)),
        Fault::of("CreateSnapshot")
            .calls([2])
            .hide(Duration::from_mins(10)),
        Fault::of("PutSnapshotBlock").error("RequestThrottledException"),
    ])
    .await;
    let said = rig
        .ask(
            r"
ebs = client('ebs')
id = launch()
until(lambda: state(id), 'running')
volume = instance(id)['BlockDeviceMappings'][0]['Ebs']['VolumeId']
def snapshot(id):
    return ec2.describe_snapshots(SnapshotIds=[id])['Snapshots'][0]['State']
one = ec2.create_snapshot(VolumeId=volume)['SnapshotId']
print(until(lambda: snapshot(one), 'error'))
two = ebs.start_snapshot(VolumeSize=1)['SnapshotId']
ebs.complete_snapshot(SnapshotId=two, ChangedBlocksCount=0)
print(until(lambda: snapshot(two), 'error'))
print(code(ebs.list_snapshot_blocks, SnapshotId=two))
three = ebs.start_snapshot(VolumeSize=1)['SnapshotId']
put = lambda: code(ebs.put_snapshot_block, SnapshotId=three, BlockIndex=0, BlockData=b'x', DataLength=1,
                   Checksum='x', ChecksumAlgorithm='SHA256')
print(put(), put(), code(ec2.describe_snapshots, SnapshotIds=[three]))
four = ec2.create_snapshot(VolumeId=volume)['SnapshotId']
print(code(ec2.describe_snapshots, SnapshotIds=[four]), code(ebs.list_snapshot_blocks, SnapshotId=four))
",
        )
        .await;
    assert_eq!(
        said,
        "error\n\
         error\n\
         ValidationException\n\
         RequestThrottledException ResourceNotFoundException InvalidSnapshot.NotFound\n\
         InvalidSnapshot.NotFound ResourceNotFoundException"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_hangs_can_be_given_up() {
    let rig = Rig::start([Fault::of("CreateImage").then(Then::ImagePending)]).await;
    let said = rig
        .ask(
            r"
made = launch()
until(lambda: state(made), 'running')
new = ec2.create_image(InstanceId=made, Name='abc')['ImageId']
print(image(new)['State'])
ec2.deregister_image(ImageId=new, DeleteAssociatedSnapshots=True)
print(code(ec2.describe_images, ImageIds=[new]), ec2.describe_snapshots(OwnerIds=['self'])['Snapshots'])
ec2.terminate_instances(InstanceIds=[made])
until(lambda: state(made), 'terminated')
",
        )
        .await;
    assert_eq!(said, "pending\nInvalidAMIID.NotFound []");
    let disks = rig.folder.path().join("state/disks");
    let left = || std::fs::read_dir(&disks).unwrap().count();
    // The stub's source disk alone; files go a moment after their resources.
    while left() != 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_end_by_themselves_or_are_stuck() {
    let spot = || Then::InstanceTerminated("Server.SpotInstanceTermination".to_owned());
    let rig = Rig::start([
        Fault::of("RunInstances").then(Then::InstanceTerminated(
            "Server.InsufficientInstanceCapacity".to_owned(),
        )),
        Fault::of("RunInstances")
            .calls([2])
            .then(spot())
            .after(Duration::from_millis(500)),
        Fault::of("RunInstances")
            .calls([3])
            .then(Then::StuckPending),
        Fault::of("StopInstances").then(Then::StuckStopping),
        Fault::of("TerminateInstances")
            .calls([2])
            .then(Then::StuckShuttingDown),
    ])
    .await;
    let said = rig
        .ask(
            r"
image_id = source()
def reason(id):
    found = instance(id)
    return found['StateReason']['Code'], found['StateTransitionReason']
stillborn = launch(image_id)
print(until(lambda: state(stillborn), 'terminated'), reason(stillborn))
lost = launch(image_id)
until(lambda: state(lost), 'running')
print(until(lambda: state(lost), 'terminated'), reason(lost))
pending = launch(image_id)
other = launch(image_id)
until(lambda: state(other), 'running')
print(state(pending))
ec2.terminate_instances(InstanceIds=[pending])
print(until(lambda: state(pending), 'terminated'))
ec2.stop_instances(InstanceIds=[other])
time.sleep(0.5)
print(state(other), code(ec2.start_instances, InstanceIds=[other]))
ec2.terminate_instances(InstanceIds=[other])
time.sleep(0.5)
print(state(other), len(ec2.describe_volumes()['Volumes']))
print(other)
",
        )
        .await;
    let (seen, other) = said.rsplit_once('\n').unwrap();
    assert_eq!(
        seen,
        "terminated ('Server.InsufficientInstanceCapacity', 'Server.InsufficientInstanceCapacity')\n\
         terminated ('Server.SpotInstanceTermination', 'Server.SpotInstanceTermination')\n\
         pending\n\
         terminated\n\
         stopping IncorrectInstanceState\n\
         shutting-down 1"
    );
    rig.endpoint.set_faults(FaultPlan::default());
    let loose = format!("print(until(lambda: state('{other}'), 'terminated'))");
    assert_eq!(rig.ask(&loose).await, "terminated");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_too_often_are_throttled() {
    let throttle = |action, burst| Throttle {
        action: Actions::new(action),
        burst,
        rate: 0.0,
    };
    let rig = Rig::with(FaultPlan {
        throttles: vec![throttle("Describe*", 2), throttle("sts:*|ssm:*", 1)],
        ..FaultPlan::default()
    })
    .await;
    let said = rig
        .ask(
            r"
sts, ssm = client('sts'), client('ssm')
print([code(ec2.describe_regions) for _ in range(3)], code(ec2.describe_vpcs), code(ec2.create_key_pair, KeyName='k'))
print(code(sts.get_caller_identity), code(sts.get_caller_identity), code(ssm.get_parameter, Name=SOURCE))
",
        )
        .await;
    assert_eq!(
        said,
        "['done', 'done', 'RequestLimitExceeded'] RequestLimitExceeded done\ndone Throttling ThrottlingException"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_ends_though_calls_and_states_are_held() {
    let rig = Rig::start([
        Fault::of("DescribeRegions").hang(Moment::Before),
        Fault::of("DescribeVpcs").latency(Duration::from_hours(1)),
        Fault::of("RunInstances").then(Then::StuckPending),
        Fault::of("TerminateInstances").then(Then::StuckShuttingDown),
    ])
    .await;
    rig.ask("launch(); made = launch(); until(lambda: state(made), 'running'); ec2.terminate_instances(InstanceIds=[made])")
        .await;
    let mut clients = Vec::new();
    for call in ["ec2.describe_regions()", "ec2.describe_vpcs()"] {
        clients.push(rig.command(call).stderr(Stdio::null()).spawn().unwrap());
    }
    rig.endpoint.fault_struck(1, 1).await;
    while rig.calls("DescribeVpcs").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::timeout(Duration::from_mins(1), rig.end())
        .await
        .expect("an end");
    for client in &mut clients {
        assert!(!client.wait().await.unwrap().success(), "no reply came");
    }
}

/// What curl says: the reply's status and its JSON.
async fn curl(rig: &Rig, path: &str, arguments: &[&str]) -> (u16, serde_json::Value) {
    let credentials = rig.endpoint.credentials();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--write-out", "\n%{http_code}"])
        .args(["--aws-sigv4", "aws:amz:us-east-1:forno", "--user"])
        .arg(format!(
            "{}:{}",
            credentials.access_key_id, credentials.secret_access_key
        ))
        .args(arguments)
        .arg(format!("{}{path}", rig.endpoint.endpoint_url()))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    let body = serde_json::from_str(body).unwrap_or_default();
    (status.parse().unwrap(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_and_calls_by_curl() {
    let rig = Rig::start([]).await;
    let file = rig.folder.path().join("faults.toml");
    std::fs::write(
        &file,
        "[[fault]]\naction = \"DescribeRegions\"\nerror = { code = \"InternalError\" }\n",
    )
    .unwrap();
    let plan = format!("@{}", file.display());
    let put = ["--request", "PUT", "--data-binary", plan.as_str()];
    let (status, reply) = curl(&rig, "/_forno/faults", &put).await;
    assert_eq!(
        (status, &reply["fault"][0]["error"]["status"]),
        (200, &500.into())
    );
    assert_eq!(curl(&rig, "/_forno/faults", &[]).await, (200, reply));
    let twice = "print(code(ec2.describe_regions), code(ec2.describe_regions))";
    assert_eq!(rig.ask(twice).await, "InternalError done");

    let (status, log) = curl(&rig, "/_forno/calls", &[]).await;
    let calls = log["calls"].as_array().unwrap();
    assert_eq!((status, calls.len()), (200, 2));
    let first = serde_json::json!({
        "number": 1, "service": "ec2", "region": "us-east-1", "action": "DescribeRegions", "ordinal": 1,
        "work": "refused", "code": "InternalError", "reply": "sent", "faults": [1],
    });
    for (key, value) in first.as_object().unwrap() {
        assert_eq!(&calls[0][key], value, "{key}");
    }
    let (_, later) = curl(&rig, "/_forno/calls?after=1", &[]).await;
    assert_eq!(later["calls"][0]["number"], 2);
    let delete = ["--request", "DELETE"];
    assert_eq!(curl(&rig, "/_forno/calls", &delete).await.0, 204);
    assert_eq!(curl(&rig, "/_forno/faults", &delete).await.0, 204);
    assert!(rig.endpoint.calls().is_empty());
    assert_eq!(rig.endpoint.faults(), FaultPlan::default());

    std::fs::write(&file, "[[fault]]\naction = \"*\"\nhangs = \"after\"\n").unwrap();
    let (status, told) = curl(&rig, "/_forno/faults", &put).await;
    let message = told["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(
        message.starts_with("3:1: unknown field `hangs`"),
        "{message}"
    );
    std::fs::write(&file, "#".repeat(300_000)).unwrap();
    assert_eq!(curl(&rig, "/_forno/faults", &put).await.0, 413);
    assert_eq!(curl(&rig, "/_forno/nothing", &[]).await.0, 404);
    assert_eq!(
        curl(&rig, "/_forno/calls", &["--request", "PUT"]).await.0,
        405
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_by_botocore_s_signer_and_refusals() {
    let rig = Rig::start([]).await;
    let said = rig
        .ask(
            r#"
import json, urllib.error, urllib.request
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

def ask(method, path, body=None, key=KEY, secret=SECRET, service='forno', auth=SigV4Auth):
    request = AWSRequest(method, URL + path, data=body)
    auth(Credentials(key, secret), service, REGION).add_auth(request)
    return send(method, request.url, body, dict(request.headers))

def send(method, url, body=None, headers={}):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as reply:
            return reply.status, json.loads(reply.read() or 'null')
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())['error']['code']

plan = {'fault': [{'action': 'Describe*', 'calls': 'every', 'error': {'code': 'Unavailable'}}],
        'throttle': [{'action': 'Run*', 'burst': 1, 'rate': 0.5}]}
status, back = ask('PUT', '/_forno/faults', json.dumps(plan).encode())
assert status == 200 and ask('PUT', '/_forno/faults', json.dumps(back).encode()) == (200, back)
print(code(ec2.describe_vpcs), ask('GET', '/_forno/faults', auth=SigV4QueryAuth)[0])
print(ask('PUT', '/_forno/faults', b'{"fault": [{"action": "*"}]}'))
print(ask('GET', '/_forno/faults', service='ec2'), ask('GET', '/_forno/calls', secret='x' * 40))
print(ask('GET', '/_forno/faults', key='AKIAOTHER'), send('DELETE', URL + '/_forno/faults'))
"#,
        )
        .await;
    assert_eq!(
        said,
        "Unavailable 200\n(400, 'InvalidPlan')\n\
         (403, 'InvalidSignatureException') (403, 'InvalidSignatureException')\n\
         (403, 'UnrecognizedClientException') (403, 'MissingAuthenticationTokenException')"
    );
    let kept = rig.endpoint.faults();
    assert_eq!(kept.faults.len(), 1, "what is refused changes nothing");
    rig.end().await;
}

/// Of Run Command, in the words that a person would write.
const OF_COMMANDS: &str = r#"
[[fault]]
action = "SendCommand"
error  = { code = "InternalServerError" }

[[fault]]
action = "SendCommand"
calls  = 2
hide   = "1500ms"

[[fault]]
action = "ssm:SendCommand"
calls  = 3
then   = "command-undeliverable"

[[fault]]
action = "SendCommand"
calls  = 4
then   = "command-cancelled"
after  = "300ms"

[[fault]]
action = "SendCommand"
calls  = 5
then   = "agent-lost:1s"

[[fault]]
action = "RebootInstances"
then   = "agent-lost:1s"
after  = "10ms"

[[fault]]
action = "SendCommand"
where  = { "Parameters.commands.1" = "lose me" }
reset  = "after"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_astray() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    std::fs::write(&file, OF_COMMANDS).unwrap();
    let rig = Rig::with(FaultPlan::read(&file).unwrap()).await;
    let said = rig
        .ask(
            r"
ssm = client('ssm')
made = launch()
def ping():
    filters = [{'Key': 'InstanceIds', 'Values': [made]}]
    found = ssm.describe_instance_information(Filters=filters)['InstanceInformationList']
    return found[0]['PingStatus'] if found else 'none'
def send(*lines):
    return ssm.send_command(InstanceIds=[made], DocumentName='AWS-RunShellScript', Parameters={'commands': lines})
def told(command):
    return ssm.get_command_invocation(CommandId=command, InstanceId=made)
def ended(command):
    for _ in range(600):
        found = told(command)
        if found['Status'] not in ('Pending', 'Delayed', 'InProgress', 'Cancelling'):
            return found['StatusDetails'], found['ResponseCode']
        time.sleep(0.05)
    raise AssertionError(found)
until(ping, 'Online')
print(code(send, 'true'))

hidden = send('true')['Command']['CommandId']
print(code(told, hidden), ssm.list_commands()['Commands'], ssm.list_command_invocations()['CommandInvocations'])
until(lambda: code(told, hidden), 'done')
print(*ended(hidden))

print(*ended(send('true')['Command']['CommandId']))
print(*ended(send('sleep 4747')['Command']['CommandId']))
held = send('echo late')['Command']['CommandId']
print(ping(), code(send, 'true'))
until(lambda: told(held)['Status'], 'Delayed')
print(*ended(held), told(held)['StandardOutputContent'].strip(), ping())

ec2.reboot_instances(InstanceIds=[made])
until(ping, 'ConnectionLost')
until(ping, 'Online')
print(code(send, 'lose me'))
lost = ssm.list_commands(MaxResults=1)['Commands'][0]['CommandId']
print(ended(lost)[0])
",
        )
        .await;
    insta::assert_snapshot!(said);
    let calls = serde_json::to_string(&rig.endpoint.calls()).unwrap();
    assert!(!calls.contains("lose me"), "commands are not in the log");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pace_makes_states_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path().join("state"), folder.path().join("cache"));
    config.machine = MachineChoice::Stub;
    let span = Duration::from_millis;
    config.pace = Pace {
        pending: span(1000),
        checks: span(700),
        stopping: span(700),
        shutting_down: span(700),
        snapshot: span(2000),
        image: span(500),
        agent: span(900),
        hidden: span(400),
        ..Pace::INSTANT
    };
    let endpoint = PocketEc2::start(config, &|_| {}).await.unwrap();
    let rig = Rig { endpoint, folder };
    let said = rig
        .ask(
            r"
def course(since, least, look, last):
    # States come in order, and the last one not before its time.
    seen = []
    while not seen or seen[-1] != last:
        now = look()
        if not seen or seen[-1] != now:
            seen.append(now)
        time.sleep(0.02)
    took = time.monotonic() - since
    assert took >= least, f'{seen} after {took}'
    return seen

def status(id):
    found = ec2.describe_instance_status(InstanceIds=[id])['InstanceStatuses']
    return found[0]['InstanceStatus']['Status'] if found else 'none'

def check(seen, *wanted):
    assert seen == list(wanted)[-len(seen):], seen

image_id = source()
start = time.monotonic()
made = launch(image_id)
check(course(start, 0.4, lambda: code(instance, made), 'done'), 'InvalidInstanceID.NotFound', 'done')
check(course(start, 1, lambda: state(made), 'running'), 'pending', 'running')
check(course(start, 1.7, lambda: status(made), 'ok'), 'initializing', 'ok')
def ping(id):
    filters = [{'Key': 'InstanceIds', 'Values': [id]}]
    found = client('ssm').describe_instance_information(Filters=filters)['InstanceInformationList']
    return found[0]['PingStatus'] if found else 'none'
course(start, 0.9, lambda: ping(made), 'Online')
start = time.monotonic()
ec2.stop_instances(InstanceIds=[made])
check(course(start, 0.7, lambda: state(made), 'stopped'), 'stopping', 'stopped')
start = time.monotonic()
new = ec2.create_image(InstanceId=made, Name='abc')['ImageId']
course(start, 0.4, lambda: code(ec2.describe_images, ImageIds=[new]), 'done')
def snapshot():
    found = ec2.describe_snapshots(OwnerIds=['self'])['Snapshots'][0]
    percent, most = int(found['Progress'][:-1]), (time.monotonic() - start) / 2 * 100
    assert found['State'] == 'completed' or percent <= most, f'{percent} of {most}'
    return found['State']
check(course(start, 2, snapshot, 'completed'), 'pending', 'completed')
check(course(start, 2.5, lambda: image(new)['State'], 'available'), 'pending', 'available')
start = time.monotonic()
ec2.terminate_instances(InstanceIds=[made])
check(course(start, 0.7, lambda: state(made), 'terminated'), 'shutting-down', 'terminated')
",
        )
        .await;
    assert_eq!(said, "");
    rig.end().await;
}

#[test]
fn a_bad_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    std::fs::write(
        &file,
        "# a plan\n[[fault]]\naction = \"RunInstance\"\nhang = \"before\"\n",
    )
    .unwrap();
    let told = FaultPlan::read(&file).unwrap_err().to_string();
    assert!(
        told.starts_with(&format!(
            "{}:3:10: no action is called `RunInstance`; expected ",
            file.display()
        )),
        "{told}"
    );
    let absent = FaultPlan::read(Path::new("/nonexistent/faults.toml")).unwrap_err();
    assert!(absent.to_string().contains("/nonexistent/faults.toml"));
}
