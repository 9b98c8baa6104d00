//! Objects over the life of an endpoint: what lasts, what faults do to it, and
//! what the door for machines lets through.

mod python;
#[path = "python/rig.rs"]
mod rig;

use std::path::Path;

use forno_local::{Actions, Config, Fault, FaultPlan, MachineChoice, Moment, PocketEc2, Throttle};
use rig::Rig;

const OBJECTS: &str = r"
import hashlib, random, socket, urllib.parse
s3 = client('s3', signature='s3v4')
there = {'Bucket': 'forno-objects'}

def put(key, data=b'x'):
    return s3.put_object(**there, Key=key, Body=data)

def get(key):
    return s3.get_object(**there, Key=key)['Body'].read()
";

async fn ask(rig: &Rig, script: &str) -> String {
    rig.ask(&format!("{OBJECTS}\n{script}")).await
}

fn contents(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("state/objects"))
        .unwrap()
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_outlive_their_endpoint_and_leave_nothing_else() {
    let rig = Rig::start([]).await;
    let said = ask(
        &rig,
        r"
s3.create_bucket(**there)
data = random.Random(1).randbytes(5 << 20)
put('kept', data)
for round in range(3):
    put('replaced', bytes([round]) * 10)
put('removed')
s3.delete_object(**there, Key='removed')
upload = s3.create_multipart_upload(**there, Key='parts')['UploadId']
for number in (1, 1, 2):
    s3.upload_part(**there, Key='parts', UploadId=upload, PartNumber=number, Body=data)

# One that breaks off in the middle of its body.
url = s3.generate_presigned_url('put_object', {**there, 'Key': 'broken'})
parts = urllib.parse.urlsplit(url)
with socket.create_connection((parts.hostname, parts.port)) as line:
    line.sendall(f'PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000000\r\n\r\n'.encode())
    line.sendall(b'x' * 500000)
print(upload)
",
    )
    .await;
    let Rig { endpoint, folder } = rig;
    endpoint.shutdown().await.unwrap();
    // Two objects and two parts.
    assert_eq!(contents(folder.path()), 4);
    // A file that an endpoint was killed over.
    std::fs::write(folder.path().join("state/objects/stray"), "x").unwrap();

    let mut config = Config::new(folder.path().join("state"), folder.path().join("cache"));
    config.machine = MachineChoice::Stub;
    let endpoint = PocketEc2::start(config, &|_| {}).await.unwrap();
    assert_eq!(contents(folder.path()), 4);
    let rig = Rig { endpoint, folder };
    let said = ask(
        &rig,
        &format!(
            r"
data = random.Random(1).randbytes(5 << 20)
print(get('kept') == data, get('replaced'), code(get, 'removed'), code(get, 'broken'))
listed = s3.list_parts(**there, Key='parts', UploadId='{said}')['Parts']
s3.complete_multipart_upload(**there, Key='parts', UploadId='{said}', MultipartUpload={{
    'Parts': [{{'PartNumber': one['PartNumber'], 'ETag': one['ETag']}} for one in listed]}})
print(get('parts') == data * 2)
for key in ('kept', 'replaced', 'parts'):
    s3.delete_object(**there, Key=key)
s3.delete_bucket(**there)
"
        ),
    )
    .await;
    assert_eq!(
        said,
        "True b'\\x02\\x02\\x02\\x02\\x02\\x02\\x02\\x02\\x02\\x02' NoSuchKey NoSuchKey\nTrue"
    );
    assert_eq!(contents(rig.folder.path()), 0);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_strike_objects_as_everything_else() {
    let rig = Rig::with(FaultPlan {
        faults: vec![
            Fault::of("s3:PutObject")
                .with("Key", "lost*")
                .calls([1])
                .reset(Moment::Before),
            Fault::of("s3:PutObject")
                .with("Key", "lost*")
                .calls([2])
                .reset(Moment::After),
            Fault::of("GetObject").error("InternalError"),
            Fault::of("HeadObject").error("SlowDown"),
        ],
        throttles: vec![Throttle {
            action: Actions::new("s3:List*"),
            burst: 1,
            rate: 0.0,
        }],
        ..FaultPlan::default()
    })
    .await;
    let said = ask(
        &rig,
        r"
s3.create_bucket(**there)
print(code(put, 'lost-before'), code(put, 'lost-after'))
print(code(get, 'lost-after'))
print(code(get, 'lost-after'), code(get, 'lost-before'))
try:
    s3.head_object(**there, Key='lost-after')
except ClientError as error:
    print(error.response['ResponseMetadata']['HTTPStatusCode'])
print(code(s3.list_buckets), code(s3.list_buckets))
",
    )
    .await;
    assert_eq!(
        said,
        "ConnectionClosedError ConnectionClosedError\nInternalError\ndone NoSuchKey\n503\ndone SlowDown"
    );
    assert_eq!(rig.calls("PutObject").len(), 2);
    rig.end().await;
}

/// From inside a machine there is no key, and so nothing but what was signed.
#[tokio::test(flavor = "multi_thread")]
async fn machines_may_only_follow_what_was_signed() {
    let rig = Rig::start([]).await;
    assert_eq!(rig.endpoint.machine_endpoint(), rig.endpoint.endpoint_url());
    let socket = rig.folder.path().join("state/objects.sock");
    let said = ask(
        &rig,
        &format!(
            r"
import subprocess
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

def curl(url, *more):
    done = subprocess.run(['curl', '-sS', '--unix-socket', '{}', '-w', ' %{{http_code}}', url, *more],
                          capture_output=True, text=True, check=True)
    return done.stdout[-40:].split()[-1], 'AccessDenied' in done.stdout
s3.create_bucket(**there)
put('k', b'inside')
sign = s3.generate_presigned_url
print(curl(sign('get_object', {{**there, 'Key': 'k'}})), curl(sign('put_object', {{**there, 'Key': 'n'}}), '-T', '/etc/hostname'))
print(curl(sign('list_objects_v2', there)), curl(sign('list_buckets')), curl(f'{{URL}}/forno-objects/k'))
request = AWSRequest('GET', f'{{URL}}/forno-objects/k', headers={{'x-amz-content-sha256': 'UNSIGNED-PAYLOAD'}})
S3SigV4Auth(Credentials(KEY, SECRET), 's3', REGION).add_auth(request)
print(curl(request.url, *(part for name, value in request.headers.items() for part in ('-H', f'{{name}}: {{value}}'))))
print(curl(f'{{URL}}/?Action=DescribeRegions&Version=2016-11-15'), curl(f'{{URL}}/_forno/calls'))
",
            socket.display()
        ),
    )
    .await;
    assert_eq!(
        said,
        "('200', False) ('200', False)\n\
         ('403', True) ('403', True) ('403', True)\n\
         ('403', True)\n\
         ('403', True) ('403', True)"
    );
    rig.end().await;
}
